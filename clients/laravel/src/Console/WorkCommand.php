<?php

namespace Yamabiko\Laravel\Console;

use Illuminate\Console\Command;
use Illuminate\Contracts\Cache\Factory as Cache;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Contracts\Redis\Factory;
use RuntimeException;
use Throwable;
use Yamabiko\Laravel\Events\EventDecoder;
use Yamabiko\Laravel\Redis\EventStream;
use Yamabiko\Laravel\Settings;

/** Dispatches the events of the event stream, at least once and in their order. */
class WorkCommand extends Command
{
    private const LONGEST_PAUSE = 30;

    /** Where Laravel's queue:restart, and so `php artisan reload`, writes when workers shall restart. */
    private const RESTART_KEY = 'illuminate:queue:restart';

    protected $signature = 'yamabiko:work
        {--group=app : The consumer group: each group gets all events}
        {--consumer= : The name of this worker in the group, the same after a restart; by default the name of the machine}
        {--batch=100 : How many events to read at a time}
        {--tries=5 : How often to dispatch an event whose listener fails, before it is put aside in yamabiko:events:dead}
        {--claim-after=60 : Seconds after which the unfinished events of a lost worker are taken over}
        {--stop-when-empty : Stop when no event is left}
        {--max-time=0 : Seconds after which to stop}
        {--memory=128 : Megabytes of memory after which to stop}';

    protected $description = 'Dispatch the events of the server as Laravel events, from the Redis stream';

    private bool $stopping = false;

    private Dispatcher $events;

    private ExceptionHandler $exceptions;

    public function handle(Dispatcher $events, ExceptionHandler $exceptions, Factory $redis, Settings $settings): int
    {
        [$this->events, $this->exceptions] = [$events, $exceptions];
        $this->listenForSignals();
        $started = time();
        $restart = $this->restart();
        $failures = 0;
        while (! $this->stopping) {
            try {
                $this->read($redis, $settings, function () use ($started, $restart, &$failures): void {
                    $failures = 0;
                    $this->stopping = $this->stopping
                        || $this->restart() !== $restart
                        || ($this->number('max-time') > 0 && time() - $started >= $this->number('max-time'))
                        || memory_get_usage(true) >> 20 >= $this->number('memory');
                });
            } catch (RuntimeException|\RedisException $error) {
                // Redis is away or has lost the group: connect again.
                $this->exceptions->report($error);
                if (method_exists($redis, 'purge')) {
                    $redis->purge($settings->optionalText('redis.connection'));
                }
                $this->pause(min(2 ** $failures++, self::LONGEST_PAUSE));
            }
        }

        return self::SUCCESS;
    }

    private function read(Factory $redis, Settings $settings, callable $afterBatch): void
    {
        $consumer = $this->option('consumer') ?: (gethostname() ?: 'worker');
        $stream = new EventStream($redis->connection($settings->optionalText('redis.connection')), $this->text('group'), $this->string($consumer));
        $stream->createGroup();
        $claimed = 0;
        while (! $this->stopping) {
            if (time() - $claimed >= $this->number('claim-after')) {
                $claimed = time();
                $stream->claim($this->number('claim-after') * 1000, $this->number('batch'));
            }
            // First what an earlier run has not finished, so that the order is kept.
            $entries = $stream->pending($this->number('batch'))
                ?: $stream->next($this->number('batch'), $this->option('stop-when-empty') ? 1 : 1000);
            foreach ($entries as $entry => $payload) {
                if ($this->stopping) {
                    return;
                }
                $this->take($stream, (string) $entry, $payload);
            }
            $this->stopping = $this->stopping || ($entries === [] && $this->option('stop-when-empty'));
            $afterBatch();
        }
    }

    private function take(EventStream $stream, string $entry, ?string $payload): void
    {
        if ($payload === null) {
            $this->warn("The entry {$entry} is no longer kept: its event is lost.");
            $stream->acknowledge($entry);

            return;
        }
        for ($try = 1; ; $try++) {
            try {
                $this->events->dispatch(EventDecoder::entry($payload));
                $stream->acknowledge($entry);

                return;
            } catch (\RedisException $error) {
                throw $error;
            } catch (Throwable $error) {
                $this->exceptions->report($error);
                if ($try >= $this->number('tries')) {
                    $this->error("The event of entry {$entry} is put aside after {$try} tries.");
                    $stream->bury($entry, $payload, $error::class.': '.$error->getMessage());

                    return;
                }
                $this->pause(min(2 ** ($try - 1), self::LONGEST_PAUSE));
                if ($this->stopping) {
                    return; // It stays unfinished, and is the first one after the restart.
                }
            }
        }
    }

    private function listenForSignals(): void
    {
        if (! extension_loaded('pcntl')) {
            return;
        }
        pcntl_async_signals(true);
        foreach ([SIGTERM, SIGINT, SIGQUIT] as $signal) {
            pcntl_signal($signal, function (): void {
                $this->stopping = true;
            });
        }
    }

    private function restart(): mixed
    {
        $cache = $this->laravel->bound('cache') ? $this->laravel->make('cache') : null;

        return $cache instanceof Cache ? $cache->store()->get(self::RESTART_KEY) : null;
    }

    /** A signal ends it. */
    private function pause(int $seconds): void
    {
        for ($until = time() + $seconds; ! $this->stopping && time() < $until;) {
            sleep(1);
        }
    }

    private function number(string $option): int
    {
        return (int) $this->text($option);
    }

    private function text(string $option): string
    {
        return $this->string($this->option($option));
    }

    private function string(mixed $value): string
    {
        return is_scalar($value) ? (string) $value : '';
    }
}
