<?php

namespace Yamabiko\Laravel\Tests\Support;

use RuntimeException;

/** PHP's own web server with a front controller. */
final class WebServer
{
    public readonly string $url;

    private readonly Process $process;

    /** @param  array<string, string>  $environment */
    public function __construct(string $script, array $environment, ?string $root = null)
    {
        for ($attempt = 0; $attempt < 5; $attempt++) {
            $port = Ports::free();
            $process = new Process([PHP_BINARY, '-S', "127.0.0.1:{$port}", ...($root === null ? [] : ['-t', $root]), $script], $environment);
            try {
                $process->until(fn (string $log) => str_contains($log, 'started'));
            } catch (RuntimeException) {
                continue;
            }
            $this->url = "http://127.0.0.1:{$port}";
            $this->process = $process;

            return;
        }
        throw new RuntimeException('no port for the web server');
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
