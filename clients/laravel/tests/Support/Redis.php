<?php

namespace Yamabiko\Laravel\Tests\Support;

use RuntimeException;

/** A Redis of the tests' own, in memory. */
final class Redis
{
    public readonly int $port;

    private readonly Process $process;

    public function __construct()
    {
        // A port that was free a moment ago may be taken: then the next one is tried.
        for ($attempt = 0; $attempt < 5; $attempt++) {
            $port = Ports::free();
            $process = new Process(['redis-server', '--port', (string) $port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']);
            try {
                $process->until(fn (string $log) => str_contains($log, 'Ready to accept connections'));
            } catch (RuntimeException) {
                continue;
            }
            $this->port = $port;
            $this->process = $process;

            return;
        }
        throw new RuntimeException('no port for Redis');
    }

    public function client(): \Redis
    {
        $client = new \Redis;
        $client->connect('127.0.0.1', $this->port);

        return $client;
    }

    public function stop(): void
    {
        $this->process->stop();
    }
}
