<?php

namespace Yamabiko\Laravel\Console;

use Illuminate\Console\Command;
use Yamabiko\Laravel\Server\BinaryLocator;
use Yamabiko\Laravel\Server\ServerEnvironment;
use Yamabiko\Laravel\Server\ServerException;
use Yamabiko\Laravel\Settings;

/** Becomes the server. */
class StartCommand extends Command
{
    protected $signature = 'yamabiko:start
        {--host= : The address to listen on}
        {--port= : The port to listen on}
        {--config= : A TOML file with settings}
        {--dev : Serve on this machine only, with a console in the browser}
        {--print : Print the command and the settings that are added to .env, and start nothing}
        {flags?* : Flags and commands of the server instead of `serve`, after two dashes}';

    protected $description = 'Start the Yamabiko server with the .env file of the application';

    public function handle(BinaryLocator $binaries, ServerEnvironment $environment, Settings $settings): int
    {
        $file = $this->laravel->basePath('.env');
        $file = is_file($file) ? $file : null;
        try {
            $binary = $binaries->locate($this->laravel->basePath(), rtrim($this->laravel->storagePath(), '/'), fn (string $text) => $this->info($text));
        } catch (ServerException $error) {
            [$what, $remedy] = [...explode("\n", $error->getMessage(), 2), ''];
            $this->error($what);
            $remedy === '' || $this->line($remedy);

            return self::FAILURE;
        }
        $arguments = $this->commandLine($file, $this->option('config') ?: $settings->optionalText('server.config'));
        $variables = $environment->build($file, array_filter([
            'YAMABIKO__SERVER__HOST' => $this->text('host'),
            'YAMABIKO__SERVER__PORT' => $this->text('port'),
        ], fn (string $value) => $value !== ''));
        if ($this->option('print')) {
            $this->line(implode(' ', [$binary, ...$arguments]));
            foreach (array_diff_assoc($variables, getenv()) as $name => $value) {
                $this->line("{$name}={$value}");
            }

            return self::SUCCESS;
        }

        return $this->become($binary, $arguments, $variables);
    }

    /** @return list<string> */
    private function commandLine(?string $file, mixed $config): array
    {
        $arguments = $file === null ? [] : ['--env-file', $file];
        if (is_string($config) && $config !== '') {
            array_push($arguments, '--config', str_starts_with($config, '/') ? $config : $this->laravel->basePath($config));
        }
        $flags = array_values(array_filter((array) $this->argument('flags'), 'is_string'));

        return [...$arguments, ...($flags ?: [$this->option('dev') ? 'dev' : 'serve'])];
    }

    /**
     * @param  list<string>  $arguments
     * @param  array<string, string>  $environment
     */
    private function become(string $binary, array $arguments, array $environment): int
    {
        if (function_exists('pcntl_exec')) {
            // From here on, the process is the server: signals reach it, and its exit code is that of the command.
            pcntl_exec($binary, $arguments, $environment);
            $this->error("{$binary} cannot be executed.");

            return self::FAILURE;
        }
        $process = proc_open([$binary, ...$arguments], [STDIN, STDOUT, STDERR], $pipes, null, $environment);

        return is_resource($process) ? proc_close($process) : self::FAILURE;
    }

    private function text(string $option): string
    {
        $value = $this->option($option);

        return is_scalar($value) ? (string) $value : '';
    }
}
