<?php

namespace Yamabiko\Laravel\Console;

use Illuminate\Console\Command;
use Illuminate\Contracts\Redis\Factory as Redis;
use Throwable;
use Yamabiko\Laravel\Install\DevScript;
use Yamabiko\Laravel\Install\Environment;
use Yamabiko\Laravel\Install\FrontEnd;
use Yamabiko\Laravel\Install\PackageFile;
use Yamabiko\Laravel\Install\Project;
use Yamabiko\Laravel\Install\RouteFiles;
use Yamabiko\Laravel\Redis\RawRedis;
use Yamabiko\Laravel\Settings;

/** Prepares an application. Run again, it adds what is missing and changes nothing else. */
class InstallCommand extends Command
{
    private const CONFIG = __DIR__.'/../../config/yamabiko.php';

    private const STACKS = ['blade', 'react', 'vue', 'none'];

    private const CONNECTORS = ['yamabiko', 'pusher'];

    protected $signature = 'yamabiko:install
        {--stack= : Example of a chat for "blade", "react", "vue" or "none"; by default, what package.json depends on}
        {--echo= : Set Laravel Echo up, with the connector "yamabiko" (by default) or with "pusher", which is pusher-js}
        {--http : Publish over HTTP, without Redis}
        {--force : Replace files of an earlier run, and the broadcast connection}
        {--dry-run : Say what would be done, and write nothing}';

    protected $description = 'Prepare .env, routes, configuration and an example page for Yamabiko';

    public function handle(Redis $redis, Settings $settings): int
    {
        $force = (bool) $this->option('force');
        $dryRun = (bool) $this->option('dry-run');
        $project = new Project($this->laravel->basePath(), $dryRun);
        $frontEnd = new FrontEnd($project, $settings->text('server.version'), $force);
        $stack = $this->option('stack') ?? $frontEnd->stack();
        $echo = $this->option('echo') ?? ($this->input->hasParameterOption('--echo') ? self::CONNECTORS[0] : null);
        if (! $this->isOneOf('stack', $stack, self::STACKS) || ($echo !== null && ! $this->isOneOf('echo', $echo, self::CONNECTORS))) {
            return self::FAILURE;
        }
        $environment = new Environment($project);
        $project->publish('config/yamabiko.php', (string) file_get_contents(self::CONFIG), $force);
        $environment->install($this->option('http') || ! $this->hasRedis($redis, $settings), $force);
        (new RouteFiles($project))->install();
        DevScript::install($project);
        if ($stack !== 'none') {
            $frontEnd->example($stack);
        }
        $frontEnd->echo($echo, $environment->namesOfApp());
        array_map($this->line(...), $project->log());
        $this->next($project, $dryRun);

        return self::SUCCESS;
    }

    /**
     * @param  list<string>  $values
     *
     * @phpstan-assert-if-true string $value
     */
    private function isOneOf(string $option, mixed $value, array $values): bool
    {
        if (! in_array($value, $values, true)) {
            $this->error("--{$option} is one of ".implode(', ', $values).', not '.(is_string($value) ? $value : '').'.');

            return false;
        }

        return true;
    }

    private function next(Project $project, bool $dryRun): void
    {
        if ($dryRun) {
            $this->info('Nothing was written: this was a dry run.');

            return;
        }
        if (! $project->isChanged()) {
            $this->info('Nothing to do: everything is there.');
        } elseif (method_exists($this->laravel, 'configurationIsCached') && $this->laravel->configurationIsCached()) {
            $this->line('The configuration is cached: run php artisan config:clear.');
        }
        if ($project->isChanged(PackageFile::FILE)) {
            $this->line('Run '.PackageFile::installCommand($project).' for what package.json now depends on.');
        }
        $this->info('Start the server with php artisan yamabiko:start, and open /yamabiko of the application in two browsers.');
    }

    private function hasRedis(Redis $redis, Settings $settings): bool
    {
        try {
            (new RawRedis($redis->connection($settings->optionalText('redis.connection'))))->run('PING');

            return true;
        } catch (Throwable) {
            $this->line('Redis does not answer: the application publishes over HTTP (YAMABIKO_VIA=http).');

            return false;
        }
    }
}
