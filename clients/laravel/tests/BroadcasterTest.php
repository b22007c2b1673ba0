<?php

namespace Yamabiko\Laravel\Tests;

use Closure;
use Illuminate\Broadcasting\BroadcastException;
use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Http\Request;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;
use Yamabiko\Laravel\Broadcasting\YamabikoBroadcaster;
use Yamabiko\Laravel\Tests\Support\Server;
use Yamabiko\Laravel\Tests\Support\TestCase;
use Yamabiko\Laravel\Tests\Support\WebSocket;
use Yamabiko\Laravel\YamabikoServiceProvider;

/** The broadcast connection "yamabiko": pages of the Pusher protocol are authorised by it and get what it broadcasts. */
final class BroadcasterTest extends TestCase
{
    protected static function serverEnvironment(): array
    {
        // The nodes read the stream only if some channel has a history.
        return ['YAMABIKO__CHANNELS__CHAT__HISTORY' => '{ messages = 100, age = "2m" }'];
    }

    private function broadcaster(string $via = 'redis'): mixed
    {
        $this->app = $this->application(['yamabiko.via' => $via]);
        $broadcaster = $this->app->make(BroadcastManager::class)->connection();
        $broadcaster->channel('Chat.{room}', fn ($user, string $room) => $room === '1');
        $broadcaster->channel('Room.{room}', fn ($user) => ['id' => $user->id, 'name' => $user->name]);

        return $broadcaster;
    }

    private static function request(array $fields): Request
    {
        $request = Request::create('/broadcasting/auth', 'POST', $fields);
        $request->setUserResolver(fn () => self::user());

        return $request;
    }

    /** @return array{WebSocket, string} a page that is connected, and its socket ID */
    private static function echo(): array
    {
        $page = new WebSocket(self::$server->port, '/app/'.Server::APP['key'].'?protocol=7&client=js&version=8.0.0');

        return [$page, json_decode($page->next()['data'], true)['socket_id']];
    }

    private function subscribe(WebSocket $page, array $subscription): array
    {
        $page->send(['event' => 'pusher:subscribe', 'data' => $subscription]);

        return $page->next();
    }

    public function test_pages_are_authorised_and_receive_over_every_way(): void
    {
        foreach (['redis', 'stream', 'http'] as $via) {
            $broadcaster = $this->broadcaster($via);
            [$page, $socket] = self::echo();
            foreach (['private-Chat.1', 'presence-Room.1'] as $channel) {
                $auth = $broadcaster->auth(self::request(['socket_id' => $socket, 'channel_name' => $channel]));
                $this->assertSame('pusher_internal:subscription_succeeded', $this->subscribe($page, ['channel' => $channel] + $auth)['event']);
            }
            $this->subscribe($page, ['channel' => 'news']);
            $broadcaster->broadcast(['private-Chat.1', 'presence-Room.1', 'news'], 'App\\Events\\Sent', ['message' => 'やっほー', 'empty' => []]);
            $channels = [];
            foreach (range(1, 3) as $_) {
                $frame = $page->next();
                $this->assertSame('App\\Events\\Sent', $frame['event']);
                $this->assertSame('やっほー', json_decode($frame['data'], true)['message']);
                $channels[] = $frame['channel'];
            }
            $this->assertSame(['private-Chat.1', 'presence-Room.1', 'news'], $channels, $via);
            $page->close();
        }
    }

    public function test_to_others_leaves_out_the_page_that_asked(): void
    {
        foreach (['redis', 'stream', 'http'] as $via) {
            $broadcaster = $this->broadcaster($via);
            [[$aoi, $socket], [$haru]] = [self::echo(), self::echo()];
            foreach ([$aoi, $haru] as $page) {
                $this->subscribe($page, ['channel' => 'others']);
            }
            $broadcaster->broadcast(['others'], 'Sent', ['n' => 1, 'socket' => $socket]);
            $broadcaster->broadcast(['others'], 'Sent', ['n' => 2, 'socket' => 'H7mpY38dogvFlajsAAAA']);
            $this->assertSame(2, json_decode($aoi->next()['data'], true)['n'], $via);
            $this->assertSame(1, json_decode($haru->next()['data'], true)['n'], $via);
        }
    }

    public function test_a_refused_or_malformed_request_gets_no_signature(): void
    {
        $broadcaster = $this->broadcaster();
        $requests = [
            ['socket_id' => '1.2', 'channel_name' => 'private-Chat.2'],
            ['socket_id' => '1.2', 'channel_name' => 'private-Nowhere.1'],
            ['socket_id' => '1.2', 'channel_name' => ''],
            // A signature is for one thing: with a colon in what is signed it could be for two.
            ['socket_id' => '1.2:private-Chat.1', 'channel_name' => 'private-Chat.1'],
            ['socket_id' => ['1.2'], 'channel_name' => 'private-Chat.1'],
            ['socket_id' => "1.2\n", 'channel_name' => 'private-Chat.1'],
        ];
        foreach ($requests as $fields) {
            try {
                $broadcaster->auth(self::request($fields));
                $this->fail('signed: '.json_encode($fields));
            } catch (AccessDeniedHttpException) {
                $this->addToAssertionCount(1);
            }
        }
    }

    public function test_pages_of_laravel_echo_server_get_the_answer_of_the_redis_broadcaster(): void
    {
        $broadcaster = $this->broadcaster();
        $this->assertSame('true', $broadcaster->auth(self::request(['channel_name' => 'private-Chat.1'])));
    }

    public function test_an_encrypted_channel_and_a_missing_key_are_errors(): void
    {
        try {
            $this->broadcaster()->broadcast(['private-encrypted-Chat.1'], 'Sent', ['secret' => 1]);
            $this->fail('sent in the clear');
        } catch (BroadcastException $error) {
            $this->assertStringContainsString('does not encrypt', $error->getMessage());
        }
        $this->app = $this->application(['yamabiko.app' => []]);
        $broadcaster = $this->app->make(BroadcastManager::class)->connection();
        $broadcaster->channel('Chat.1', fn () => true);
        $this->expectExceptionMessage('PUSHER_APP_KEY');
        $broadcaster->auth(self::request(['socket_id' => '1.2', 'channel_name' => 'private-Chat.1']));
    }

    public function test_the_driver_works_when_laravel_binds_it_to_its_manager(): void
    {
        // As Laravel 13 does.
        $manager = new class($this->app) extends BroadcastManager
        {
            public function extend($driver, Closure $callback)
            {
                return parent::extend($driver, $callback->bindTo($this, $this::class));
            }
        };
        $this->app->instance(BroadcastManager::class, $manager);
        (new YamabikoServiceProvider($this->app))->boot();
        $this->assertInstanceOf(YamabikoBroadcaster::class, $manager->connection('yamabiko'));
    }
}
