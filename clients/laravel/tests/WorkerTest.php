<?php

namespace Yamabiko\Laravel\Tests;

use Yamabiko\Laravel\Facades\Yamabiko;
use Yamabiko\Laravel\Tests\Support\Process;
use Yamabiko\Laravel\Tests\Support\TestCase;
use Yamabiko\Laravel\Tests\Support\WebSocket;

/** yamabiko:work dispatches what the real server adds to the event stream, at least once and in order. */
final class WorkerTest extends TestCase
{
    private const STREAM = self::PREFIX.'yamabiko:events';

    private string $events;

    private WebSocket $page;

    private static int $room = 0;

    protected static function serverEnvironment(): array
    {
        return ['YAMABIKO__EVENTS__STREAM' => 'true', 'YAMABIKO__EVENTS__STREAM_EVENTS' => 'message'];
    }

    protected function setUp(): void
    {
        parent::setUp();
        $this->events = "{$this->folder}/events";
        touch($this->events);
        self::$redis->client()->del(self::STREAM, self::STREAM.':dead');
        $this->page = self::page(Yamabiko::token(self::user(), 'chat:'.++self::$room));
    }

    private function say(string ...$messages): void
    {
        $before = self::$redis->client()->xLen(self::STREAM);
        foreach ($messages as $message) {
            $this->page->send(['data' => ['message' => $message]]);
            $this->page->next();
            $this->page->next();
        }
        $this->eventually(fn () => self::$redis->client()->xLen(self::STREAM) === $before + count($messages));
    }

    private function worker(string ...$options): Process
    {
        return new Process([PHP_BINARY, __DIR__.'/Support/artisan.php', 'yamabiko:work', ...$options], [
            'BASE_PATH' => $this->folder,
            'EVENTS_FILE' => $this->events,
            'REDIS_PORT' => (string) self::$redis->port,
            'REDIS_PREFIX' => self::PREFIX,
        ]);
    }

    /** @return list<string> the messages that the listener got */
    private function heard(): array
    {
        return array_map(fn (string $line) => json_decode($line, true)['data']['message'], file($this->events) ?: []);
    }

    private function eventually(callable $condition): void
    {
        for ($until = microtime(true) + 60; ! $condition(); usleep(10_000)) {
            $this->assertLessThan($until, microtime(true), 'what is waited for did not happen');
        }
    }

    public function test_events_come_in_order_and_each_group_gets_all_of_them(): void
    {
        $this->say('one', 'two', 'three');
        $this->assertSame(0, $this->worker('--stop-when-empty', '--batch=2')->wait());
        $this->assertSame(['one', 'two', 'three'], $this->heard());
        $this->assertSame(0, $this->worker('--stop-when-empty')->wait());
        $this->assertCount(3, $this->heard());
        $this->assertSame(0, $this->worker('--stop-when-empty', '--group=another')->wait());
        $this->assertCount(6, $this->heard());
    }

    public function test_a_killed_worker_repeats_what_it_had_not_finished(): void
    {
        $this->say('one', 'hang', 'three');
        $worker = $this->worker();
        $this->eventually(fn () => $this->heard() === ['one', 'hang']);
        $worker->stop(SIGKILL);
        touch("{$this->events}.go");
        $this->assertSame(0, $this->worker('--stop-when-empty')->wait());
        $this->assertSame(['one', 'hang', 'hang', 'three'], $this->heard());
    }

    public function test_another_worker_takes_over_from_a_lost_one(): void
    {
        $this->say('hang');
        $worker = $this->worker('--consumer=lost');
        $this->eventually(fn () => $this->heard() === ['hang']);
        $worker->stop(SIGKILL);
        touch("{$this->events}.go");
        $other = $this->worker('--consumer=other', '--claim-after=1');
        $this->eventually(fn () => $this->heard() === ['hang', 'hang']);
        $other->stop();
    }

    public function test_a_signal_lets_the_worker_finish_its_event(): void
    {
        $this->say('hang', 'two');
        $worker = $this->worker();
        $this->eventually(fn () => $this->heard() === ['hang']);
        $worker->signal(SIGTERM);
        touch("{$this->events}.go");
        $this->assertSame(0, $worker->wait());
        $this->assertSame(['hang'], $this->heard());
        $this->assertSame(1, self::$redis->client()->xPending(self::STREAM, 'app')[0]);
        $this->assertSame(0, $this->worker('--stop-when-empty')->wait());
        $this->assertSame(['hang', 'two'], $this->heard());
    }

    public function test_an_event_is_tried_again_and_put_aside_at_last(): void
    {
        touch("{$this->events}.fail");
        $this->say('one', 'poison', 'two');
        self::$redis->client()->xAdd(self::STREAM, '*', ['payload' => 'not JSON']);
        $worker = $this->worker('--stop-when-empty', '--tries=2');
        $this->assertSame(0, $worker->wait(), $worker->output());
        $this->assertSame(['one', 'two'], $this->heard());
        $dead = array_values(self::$redis->client()->xRange(self::STREAM.':dead', '-', '+'));
        $this->assertCount(2, $dead);
        $this->assertSame('RuntimeException: the listener fails for ever', $dead[0]['reason']);
        $this->assertSame('poison', json_decode($dead[0]['payload'], true)['data']['message']);
        $this->assertStringContainsString('Not JSON', $dead[1]['reason']);
        $this->assertSame(0, self::$redis->client()->xPending(self::STREAM, 'app')[0]);
    }

    public function test_a_redis_that_has_lost_its_data_gets_the_group_again(): void
    {
        $worker = $this->worker();
        $this->say('one');
        $this->eventually(fn () => $this->heard() === ['one']);
        self::$redis->client()->del(self::STREAM);
        $this->say('two');
        $this->eventually(fn () => $this->heard() === ['one', 'two']);
        $worker->stop();
    }

    public function test_queue_restart_stops_the_worker(): void
    {
        $worker = $this->worker();
        $this->say('one');
        $this->eventually(fn () => $this->heard() === ['one']);
        $this->app->make('cache')->forever('illuminate:queue:restart', time());
        $this->assertSame(0, $worker->wait());
    }
}
