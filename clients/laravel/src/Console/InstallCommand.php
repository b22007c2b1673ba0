<?php

namespace Yamabiko\Laravel\Console;

use Illuminate\Console\Command;
use Illuminate\Contracts\Redis\Factory as Redis;
use Throwable;
use Yamabiko\Laravel\Install\DevScript;
use Yamabiko\Laravel\Install\EnvFile;
use Yamabiko\Laravel\Install\RouteFiles;
use Yamabiko\Laravel\Redis\RawRedis;
use Yamabiko\Laravel\Settings;

/** Prepares an application. Run again, it adds what is missing and changes nothing else. */
class InstallCommand extends Command
{
    private const PACKAGE = __DIR__.'/../..';

    protected $signature = 'yamabiko:install
        {--stack= : Example of a chat for "blade", "react", "vue" or "none"; by default, what package.json depends on}
        {--http : Publish over HTTP, without Redis}
        {--force : Overwrite files of an earlier run, and the broadcast connection}';

    protected $description = 'Prepare .env, routes, configuration and an example page for Yamabiko';

    public function handle(Redis $redis, Settings $settings): int
    {
        $stack = $this->stack();
        if (! in_array($stack, ['blade', 'react', 'vue', 'none'], true)) {
            $this->error("The stack must be blade, react, vue or none, not {$stack}.");

            return self::FAILURE;
        }
        $base = $this->laravel->basePath();
        $this->copy(self::PACKAGE.'/config/yamabiko.php', 'config/yamabiko.php');
        $this->environment($base, $this->option('http') || ! $this->hasRedis($redis, $settings));
        array_map($this->line(...), [...(new RouteFiles($base))->install(), ...array_filter([DevScript::install($base)])]);
        $this->frontEnd($stack);
        $this->info('Done. Start the server with php artisan yamabiko:start, and open /yamabiko of the application in two browsers.');

        return self::SUCCESS;
    }

    private function environment(string $base, bool $http): void
    {
        if (! is_file("{$base}/.env") && is_file("{$base}/.env.example")) {
            copy("{$base}/.env.example", "{$base}/.env");
        }
        $env = new EnvFile("{$base}/.env");
        $this->broadcastConnection($env);
        $values = [
            'APP_WS_URL' => 'ws://localhost:8080/ws',
            'APP_WS_JWT_SECRET' => bin2hex(random_bytes(32)),
            'YAMABIKO__EVENTS__SECRET' => bin2hex(random_bytes(32)),
        ];
        if ($http) {
            $values['YAMABIKO_VIA'] = 'http';
        }
        if ($env->get('REVERB_APP_KEY') === null) {
            $values += [
                'PUSHER_APP_ID' => (string) random_int(100_000, 999_999),
                'PUSHER_APP_KEY' => bin2hex(random_bytes(10)),
                'PUSHER_APP_SECRET' => bin2hex(random_bytes(20)),
                'PUSHER_HOST' => 'localhost',
                'PUSHER_PORT' => '8080',
                'PUSHER_SCHEME' => 'http',
                'VITE_PUSHER_APP_KEY' => '"${PUSHER_APP_KEY}"',
                'VITE_PUSHER_HOST' => '"${PUSHER_HOST}"',
                'VITE_PUSHER_PORT' => '"${PUSHER_PORT}"',
                'VITE_PUSHER_SCHEME' => '"${PUSHER_SCHEME}"',
            ];
        }
        $added = $env->fill($values);
        $env->save();
        $this->line($added === [] ? '.env has everything' : 'Added to .env: '.implode(', ', $added));
    }

    private function broadcastConnection(EnvFile $env): void
    {
        // Before Laravel 11, the variable has another name.
        $name = $env->has('BROADCAST_DRIVER') ? 'BROADCAST_DRIVER' : 'BROADCAST_CONNECTION';
        $value = $env->get($name);
        if ($value === 'yamabiko') {
            return;
        }
        if ($this->option('force') || in_array($value, [null, 'log'], true)) {
            $env->set($name, 'yamabiko');
            $this->line("Set {$name}=yamabiko in .env");
        } else {
            $this->warn("{$name} is {$value} and stays so. With yamabiko, Laravel broadcasts without an SDK.");
        }
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

    private function stack(): string
    {
        $stack = $this->option('stack');
        if (is_string($stack) && $stack !== '') {
            return $stack;
        }
        $file = $this->laravel->basePath('package.json');
        $package = is_file($file) ? json_decode((string) file_get_contents($file), true) : [];
        $dependencies = is_array($package) ? array_merge((array) ($package['dependencies'] ?? []), (array) ($package['devDependencies'] ?? [])) : [];

        return match (true) {
            isset($dependencies['react']) => 'react',
            isset($dependencies['vue']) => 'vue',
            default => 'blade',
        };
    }

    private function frontEnd(string $stack): void
    {
        if ($stack === 'none') {
            return;
        }
        if (is_file($this->laravel->basePath('package.json'))) {
            $this->copy(self::PACKAGE.'/stubs/js/echo.js', 'resources/js/echo.js');
        }
        match ($stack) {
            'react' => $this->copy(self::PACKAGE.'/stubs/js/YamabikoChat.jsx', 'resources/js/components/YamabikoChat.jsx'),
            'vue' => $this->copy(self::PACKAGE.'/stubs/js/YamabikoChat.vue', 'resources/js/components/YamabikoChat.vue'),
            default => $this->copy(self::PACKAGE.'/resources/views/chat.blade.php', 'resources/views/vendor/yamabiko/chat.blade.php'),
        };
        if ($stack !== 'blade') {
            $this->line('The example needs npm install @yamabiko/client; Echo needs npm install laravel-echo pusher-js.');
        }
    }

    private function copy(string $from, string $to): void
    {
        $path = $this->laravel->basePath($to);
        if (is_file($path) && ! $this->option('force')) {
            return;
        }
        is_dir(dirname($path)) || mkdir(dirname($path), 0o755, true);
        copy($from, $path);
        $this->line("Created {$to}");
    }
}
