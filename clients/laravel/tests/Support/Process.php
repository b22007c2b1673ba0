<?php

namespace Yamabiko\Laravel\Tests\Support;

use RuntimeException;

/** A process that is ended with the test. Its output goes to a file. */
final class Process
{
    private const START_SECONDS = 60;

    /** @var resource */
    private $process;

    private readonly string $log;

    /**
     * @param  list<string>  $command
     * @param  array<string, string>  $environment
     */
    public function __construct(array $command, array $environment = [], ?string $folder = null)
    {
        $this->log = (string) tempnam(sys_get_temp_dir(), 'yamabiko');
        $output = ['file', $this->log, 'a'];
        $environment += ['PATH' => (string) getenv('PATH'), 'HOME' => (string) getenv('HOME')];
        $pipes = [];
        $process = proc_open($command, [['file', '/dev/null', 'r'], $output, $output], $pipes, $folder, $environment);
        $this->process = is_resource($process) ? $process : throw new RuntimeException("{$command[0]} cannot be started");
    }

    /** Waits until the probe returns something, and returns it. */
    public function until(callable $probe): mixed
    {
        $until = microtime(true) + self::START_SECONDS;
        while (! ($result = $probe($this->output()))) {
            if (! $this->isRunning() || microtime(true) > $until) {
                throw new RuntimeException("what is waited for did not happen:\n{$this->output()}");
            }
            usleep(20_000);
        }

        return $result;
    }

    public function output(): string
    {
        return (string) file_get_contents($this->log);
    }

    public function pid(): int
    {
        return proc_get_status($this->process)['pid'];
    }

    public function isRunning(): bool
    {
        return proc_get_status($this->process)['running'];
    }

    public function signal(int $signal): void
    {
        proc_terminate($this->process, $signal);
    }

    /** Waits until it has ended, and returns its exit code. */
    public function wait(): int
    {
        $until = microtime(true) + self::START_SECONDS;
        while (($status = proc_get_status($this->process))['running']) {
            if (microtime(true) > $until) {
                throw new RuntimeException("the process does not end:\n{$this->output()}");
            }
            usleep(10_000);
        }

        return $status['exitcode'];
    }

    public function stop(int $signal = SIGTERM): void
    {
        if ($this->isRunning()) {
            $this->signal($signal);
            $this->wait();
        }
    }

    public function __destruct()
    {
        $this->stop(SIGKILL);
        proc_close($this->process);
        unlink($this->log);
    }
}
