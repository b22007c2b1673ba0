<?php

namespace Yamabiko\Laravel\Tests;

use Illuminate\Http\Request;
use Illuminate\Support\Facades\Event;
use Illuminate\Support\Facades\Route;
use Yamabiko\Laravel\Events\ClientConnected;
use Yamabiko\Laravel\Events\ServerEvent;
use Yamabiko\Laravel\Events\UnknownEvent;
use Yamabiko\Laravel\Facades\Yamabiko;
use Yamabiko\Laravel\Tests\Support\TestCase;
use Yamabiko\Laravel\Tests\Support\WebServer;

/** The server's requests to the application: webhooks arrive verified, and gates decide. */
final class WebhookTest extends TestCase
{
    private const SECRET = 'the secret of events in these tests';

    private static WebServer $web;

    private static string $events;

    protected static function serverEnvironment(): array
    {
        self::$events = (string) tempnam(sys_get_temp_dir(), 'events');
        self::$web = new WebServer(__DIR__.'/Support/front.php', [
            'YAMABIKO__EVENTS__SECRET' => self::SECRET,
            'EVENTS_FILE' => self::$events,
        ]);

        return [
            'YAMABIKO__EVENTS__SECRET' => self::SECRET,
            'YAMABIKO__WEBHOOKS' => '[{ url = "'.self::$web->url.'/yamabiko/webhook" }]',
            'YAMABIKO__CHANNELS__NOTICE__GATE' => '{ url = "'.self::$web->url.'/yamabiko/gate", timeout = "30s" }',
            'YAMABIKO__CHANNELS__CHAT__PRESENCE' => 'true',
            'YAMABIKO__CHANNELS__CHAT__HISTORY' => '{ messages = 100, age = "2m" }',
        ];
    }

    public static function tearDownAfterClass(): void
    {
        parent::tearDownAfterClass();
        self::$web->stop();
        unlink(self::$events);
    }

    /** Waits for an event of this class on the channel, and returns what the listener got. */
    private function event(string $class, string $channel): array
    {
        for ($until = microtime(true) + 60; microtime(true) < $until; usleep(20_000)) {
            foreach (file(self::$events) ?: [] as $line) {
                $event = json_decode($line, true);
                if ($event['class'] === $class && $event['channel'] === $channel) {
                    return $event;
                }
            }
        }
        $this->fail("no {$class}:\n".self::$web->log());
    }

    public function test_each_event_becomes_a_laravel_event(): void
    {
        $page = self::page(Yamabiko::token(self::user(), 'chat:events'));
        $page->send(['data' => ['message' => 'やっほー', 'big' => 123456789012345678]]);
        $this->assertSame(['id' => 7, 'name' => 'あおい'], $this->event('ClientConnected', 'chat:events')['user']);
        $message = $this->event('MessageReceived', 'chat:events');
        $this->assertSame([['message' => 'やっほー', 'big' => 123456789012345678], 7], [$message['data'], $message['sender']['id']]);
        $this->assertMatchesRegularExpression('/-\d+$/', $message['position']);
        $this->assertSame(7, $this->event('UserOnline', 'chat:events')['userId']);
        $this->event('ChannelOccupied', 'chat:events');
        $page->close();
        $end = $this->event('ClientDisconnected', 'chat:events');
        $this->assertSame($this->event('ClientConnected', 'chat:events')['connection'], $end['connection']);
        $this->assertNotSame('', $end['reason']);
        $this->assertSame(7, $this->event('UserOffline', 'chat:events')['userId']);
        $this->event('ChannelVacated', 'chat:events');
    }

    public function test_an_event_whose_listener_fails_comes_again(): void
    {
        touch(self::$events.'.fail');
        $page = self::page(Yamabiko::token(self::user(), 'other:again'));
        $this->event('ClientConnected', 'other:again');
        $this->assertFileDoesNotExist(self::$events.'.fail');
        $this->assertStringContainsString('the listener fails once', self::$web->log());
        $page->close();
    }

    public function test_the_gate_allows_refuses_rewrites_and_fails(): void
    {
        $page = self::page(Yamabiko::token(self::user(), 'notice:gate'));
        $say = function (string $message) use ($page): array {
            $page->send(['data' => ['message' => $message, 'empty' => (object) [], 'list' => []]]);

            return $page->next();
        };
        $this->assertTrue($say('hello')['ok']);
        $this->assertSame('hello', $page->next()['data']['message']);
        $refusal = $say('see http://example.com')['error'];
        $this->assertSame(['refused', 'No links on notice:gate, あおい.'], [$refusal['code'], $refusal['message']]);
        $this->assertSame('unavailable', $say('a bug')['error']['code']);
        $this->assertTrue($say('darn')['ok']);
        $this->assertSame('****', $page->next()['data']['message']);
        $page->close();
    }

    public function test_a_rewritten_message_keeps_empty_objects(): void
    {
        $page = self::page(Yamabiko::token(self::user(), 'notice:gate'));
        $page->send(['data' => ['message' => 'darn', 'empty' => (object) [], 'list' => []]]);
        $page->next();
        $this->assertStringContainsString('"empty":{},"list":[]', $page->nextText());
    }

    public function test_only_signed_requests_of_the_last_minutes_are_accepted(): void
    {
        $this->app = $this->application(['yamabiko.events.secret' => self::SECRET]);
        $received = [];
        Event::listen(ServerEvent::class, function (ServerEvent $event) use (&$received): void {
            $received[] = $event;
        });
        Route::yamabikoWebhook('/hook');
        $body = '{"events":[{"event":"connected","event_id":"a-1","time_ms":1,"channel":"chat:","connection":"c","user":{"id":7,"name":"Aoi"}},'
            .'{"event":"of_tomorrow","event_id":"a-2","time_ms":2,"channel":"chat:","new":true}]}';
        $sign = fn (string $time, string $body, string $secret = self::SECRET) => hash_hmac('sha256', "{$time}.{$body}", $secret);
        $post = fn (string $time, string $signature, string $body) => $this->app->handle(Request::create('/hook', 'POST', server: [
            'HTTP_YAMABIKO_TIMESTAMP' => $time,
            'HTTP_YAMABIKO_SIGNATURE' => $signature,
        ], content: $body))->getStatusCode();
        $now = (string) time();

        foreach ([(string) (time() - 3600), (string) (time() + 3600), '', 'now', "{$now} ", "-{$now}"] as $time) {
            $this->assertSame(401, $post($time, $sign($time, $body), $body), $time);
        }
        foreach ([$sign($now, $body, 'another secret'), $sign($now, "{$body} "), '', strtoupper($sign($now, $body))] as $signature) {
            $this->assertSame(401, $post($now, $signature, $body));
        }
        foreach (['', 'null', '[]', '{"events":7}', '{"events":[7]}', '{"events":[{"event":"connected"}]}', "{\"events\":\"\xff\"}"] as $invalid) {
            $this->assertSame(422, $post($now, $sign($now, $invalid), $invalid), $invalid);
        }
        $this->assertSame([], $received);
        $this->assertSame(204, $post($now, $sign($now, $body), $body));
        $this->assertSame([ClientConnected::class, UnknownEvent::class], array_map('get_class', $received));
        $this->assertSame(['of_tomorrow', true], [$received[1]->event, $received[1]->payload['new']]);
    }

    public function test_without_a_secret_no_request_is_accepted(): void
    {
        $this->app = $this->application(['yamabiko.events.secret' => null]);
        Route::yamabikoWebhook('/hook');
        $answer = $this->app->handle(Request::create('/hook', 'POST', server: [
            'HTTP_YAMABIKO_TIMESTAMP' => (string) time(),
            'HTTP_YAMABIKO_SIGNATURE' => hash_hmac('sha256', time().'.', ''),
        ]));
        $this->assertSame(500, $answer->getStatusCode());
    }
}
