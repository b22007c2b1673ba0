<?php

namespace Yamabiko\Laravel\Tests\Support;

/** The real server, on ports that the system has chosen. */
final class Server
{
    public const SECRET = 'a secret of 32 bytes for the tests';

    public const APP = ['id' => '1001', 'key' => 'echo-key', 'secret' => 'echo-secret-of-the-tests'];

    public readonly int $port;

    public readonly int $admin;

    private readonly Process $process;

    /** @param  array<string, string>  $environment */
    public function __construct(array $environment = [])
    {
        $this->process = new Process([self::binary(), 'serve'], $environment + [
            'APP_WS_JWT_SECRET' => self::SECRET,
            'PUSHER_APP_ID' => self::APP['id'],
            'PUSHER_APP_KEY' => self::APP['key'],
            'PUSHER_APP_SECRET' => self::APP['secret'],
            'YAMABIKO__SERVER__HOST' => '127.0.0.1',
            'YAMABIKO__SERVER__PORT' => '0',
            'YAMABIKO__SERVER__SHUTDOWN_GRACE' => '1s',
            'YAMABIKO__ADMIN__LISTEN' => '127.0.0.1:0',
            'YAMABIKO__LOG__FORMAT' => 'json',
        ]);
        [$this->port, $this->admin] = $this->process->until(self::ports(...));
        $this->process->until(fn () => str_contains((string) @file_get_contents("http://127.0.0.1:{$this->admin}/readyz"), '"ready":true'));
    }

    public static function binary(): string
    {
        return getenv('YAMABIKO_BIN') ?: dirname(__DIR__, 4).'/'.(getenv('CARGO_TARGET_DIR') ?: 'target').'/debug/yamabiko';
    }

    /**
     * The ports in the log of a server.
     *
     * @return array{int, int}|null
     */
    public static function ports(string $log): ?array
    {
        foreach (explode("\n", $log) as $line) {
            $line = json_decode($line, true);
            if (is_array($line) && ($line['message'] ?? null) === 'listening') {
                return [(int) substr((string) strrchr($line['address'], ':'), 1), (int) substr((string) strrchr($line['admin'], ':'), 1)];
            }
        }

        return null;
    }

    public function log(): string
    {
        return $this->process->output();
    }

    public function stop(): void
    {
        $this->process->stop();
    }
}
