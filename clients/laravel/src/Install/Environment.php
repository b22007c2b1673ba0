<?php

namespace Yamabiko\Laravel\Install;

/** What .env needs. Values that are there stay, also those of Reverb and of the old server. */
final class Environment
{
    public function __construct(private readonly Project $project) {}

    /** @param  bool  $http  whether the application publishes over HTTP */
    public function install(bool $http, bool $force): void
    {
        $env = new EnvFile($this->project->read($this->project->has('.env') ? '.env' : '.env.example'));
        $names = [...$this->broadcastConnection($env, $force), ...$env->fill($this->values($env, $http))];
        $this->project->write('.env', $env->text(), implode(', ', $names));
    }

    /** How the names of Laravel Echo's app begin: as those of Reverb, if the application has it. */
    public function namesOfApp(): string
    {
        return (new EnvFile($this->project->read('.env')))->get('REVERB_APP_KEY') === null ? 'PUSHER' : 'REVERB';
    }

    /** @return list<string> */
    private function broadcastConnection(EnvFile $env, bool $force): array
    {
        // Before Laravel 11, the variable has another name.
        $name = $env->has('BROADCAST_DRIVER') ? 'BROADCAST_DRIVER' : 'BROADCAST_CONNECTION';
        $value = $env->get($name);
        if ($value === 'yamabiko') {
            return [];
        }
        if (! $force && ! in_array($value, [null, 'log'], true)) {
            $this->project->note("Kept {$name}={$value} in .env: with {$name}=yamabiko, Laravel broadcasts without an SDK");

            return [];
        }
        $env->set($name, 'yamabiko');

        return [$name];
    }

    /** @return array<string, string> */
    private function values(EnvFile $env, bool $http): array
    {
        $values = [
            'APP_WS_URL' => 'ws://localhost:'.self::port($env).'/ws',
            'APP_WS_JWT_SECRET' => bin2hex(random_bytes(32)),
            'YAMABIKO__EVENTS__SECRET' => bin2hex(random_bytes(32)),
        ];
        if ($http) {
            $values['YAMABIKO_VIA'] = 'http';
        }

        return $env->get('REVERB_APP_KEY') === null ? $values + $this->app($env) : $values;
    }

    /** @return array<string, string> */
    private function app(EnvFile $env): array
    {
        $pages = [];
        foreach (['APP_KEY', 'HOST', 'PORT', 'SCHEME'] as $name) {
            $pages["VITE_PUSHER_{$name}"] = "\"\${PUSHER_{$name}}\"";
        }
        if ($env->get('PUSHER_APP_KEY') !== null) {
            if ($env->get('PUSHER_HOST') === null) {
                $this->project->note('Kept the app of pusher.com in .env: set PUSHER_HOST=localhost, PUSHER_PORT='
                    .self::port($env).' and PUSHER_SCHEME=http to use it with Yamabiko');
            }

            return $pages;
        }
        if ($env->get('PUSHER_HOST') === null) {
            // The .env file of Laravel 10 has the port and the scheme of pusher.com, but no app.
            foreach (array_filter(['PUSHER_PORT', 'PUSHER_SCHEME'], $env->has(...)) as $name) {
                $env->set($name, '');
            }
        }

        return [
            'PUSHER_APP_ID' => (string) random_int(100_000, 999_999),
            'PUSHER_APP_KEY' => bin2hex(random_bytes(10)),
            'PUSHER_APP_SECRET' => bin2hex(random_bytes(20)),
            'PUSHER_HOST' => 'localhost',
            'PUSHER_PORT' => self::port($env),
            'PUSHER_SCHEME' => 'http',
            ...$pages,
        ];
    }

    /** The port of the server: that of the old server, or of Reverb, if .env has one. */
    private static function port(EnvFile $env): string
    {
        return $env->get('YAMABIKO__SERVER__PORT') ?? $env->get('APP_WS_PORT') ?? $env->get('REVERB_SERVER_PORT') ?? '8080';
    }
}
