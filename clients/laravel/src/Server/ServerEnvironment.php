<?php

namespace Yamabiko\Laravel\Server;

use Dotenv\Dotenv;
use Yamabiko\Laravel\Settings;

/** The environment of the server: that of this process, and what the application knows better than its .env file. */
final class ServerEnvironment
{
    /** What Laravel names differently, and the names that the server prefers. */
    private const REVERB = [
        'REVERB_SERVER_HOST' => ['YAMABIKO__SERVER__HOST', 'APP_WS_HOST'],
        'REVERB_SERVER_PORT' => ['YAMABIKO__SERVER__PORT', 'APP_WS_PORT'],
    ];

    public function __construct(private readonly Settings $settings) {}

    /**
     * @param  string|null  $file  the .env file, which the server reads itself
     * @param  array<string, string>  $options  which precede everything
     * @return array<string, string>
     */
    public function build(?string $file, array $options): array
    {
        $written = $file === null ? [] : Dotenv::parse((string) file_get_contents($file));
        // Laravel puts the lines of .env into the environment. The server shall have them from the file, so that it
        // takes over changes when it reloads.
        $process = array_filter(getenv(), fn (string $value, string $name) => ($written[$name] ?? null) !== $value, ARRAY_FILTER_USE_BOTH);
        $known = $process + array_filter($written, fn (?string $value) => $value !== null && $value !== '');

        return $options + $process + $this->prefix($known) + $this->memory($known) + $this->reverb($known);
    }

    /**
     * @param  array<string, string|null>  $known
     * @return array<string, string>
     */
    private function prefix(array $known): array
    {
        // Laravel's prefix depends on APP_NAME if nothing sets it. The server would have to guess it.
        return isset($known['YAMABIKO__REDIS__PREFIX']) ? [] : ['YAMABIKO__REDIS__PREFIX' => $this->settings->redisPrefix()];
    }

    /**
     * @param  array<string, string|null>  $known
     * @return array<string, string>
     */
    private function memory(array $known): array
    {
        if ($this->settings->text('via') !== 'http' || isset($known['YAMABIKO__REDIS__URL']) || isset($known['APP_REDIS_URL'])) {
            return [];
        }

        // The .env file of a new application names a Redis whether there is one or not.
        return ['REDIS_URL' => '', 'REDIS_HOST' => ''];
    }

    /**
     * @param  array<string, string|null>  $known
     * @return array<string, string>
     */
    private function reverb(array $known): array
    {
        $environment = [];
        foreach (self::REVERB as $name => $names) {
            if (isset($known[$name]) && array_intersect_key($known, array_flip($names)) === []) {
                $environment[$names[0]] = $known[$name];
            }
        }

        return $environment;
    }
}
