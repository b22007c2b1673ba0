<?php

namespace Yamabiko\Laravel\Tests;

use InvalidArgumentException;
use LogicException;
use RuntimeException;
use Yamabiko\Laravel\Facades\Yamabiko;
use Yamabiko\Laravel\Publishing\PublishException;
use Yamabiko\Laravel\Tests\Support\TestCase;
use Yamabiko\Laravel\Tests\Support\WebSocket;

/** Tokens of the package connect, and what it publishes arrives in a socket, in every way there is. */
final class PublishingTest extends TestCase
{
    protected static function serverEnvironment(): array
    {
        return ['YAMABIKO__CHANNELS__CHAT__HISTORY' => '{ messages = 100, age = "2m" }'];
    }

    private static function ways(): array
    {
        return ['redis', 'stream', 'http'];
    }

    public function test_a_token_connects_as_its_user_with_the_type_of_its_id(): void
    {
        foreach ([7, '01J9ZK3W5X8Q2N7R'] as $id) {
            $page = self::page(Yamabiko::token(self::user($id), 'notice:山/彦'));
            $page->send(['data' => ['text' => 'hello']]);
            $this->assertSame(['type' => 'sended', 'ok' => true], $page->next());
            $this->assertSame(['name' => 'あおい', 'id' => $id], $page->next()['sender']);
        }
    }

    public function test_a_token_expires_and_can_be_revoked_by_its_name(): void
    {
        try {
            self::page(Yamabiko::token(self::user(), 'chat:', -1));
            $this->fail('an expired token connects');
        } catch (RuntimeException $error) {
            $this->assertStringContainsString('token_expired', $error->getMessage());
        }
        $page = self::page(Yamabiko::token(self::user(), 'chat:', claims: ['jti' => 'this-one']));
        Yamabiko::revokeToken('this-one');
        $this->assertSame(4401, $page->closeCode());
    }

    public function test_a_message_arrives_from_the_user_or_from_the_system_over_every_way(): void
    {
        $page = self::page(Yamabiko::token(self::user(), 'chat:default'));
        foreach (self::ways() as $via) {
            Yamabiko::channel('chat:default')->via($via)->send(['message' => "やっほー over {$via}", 'name' => 'Laravel']);
            $frame = $page->next();
            $this->assertSame(['name' => 'System', 'id' => 0], $frame['sender']);
            $this->assertSame(['message' => "やっほー over {$via}", 'name' => 'Laravel'], $frame['data']);

            Yamabiko::channel('chat:default')->as(self::user())->via($via)->send(['message' => 'as a user']);
            $this->assertSame(['name' => 'あおい', 'id' => 7], $page->next()['sender']);
            Yamabiko::channel('chat:default')->as(12, 'Haru')->via($via)->send([]);
            $this->assertSame([['name' => 'Haru', 'id' => 12], []], [($frame = $page->next())['sender'], $frame['data']]);
        }
    }

    public function test_a_message_to_one_user_reaches_only_that_user(): void
    {
        $aoi = self::page(Yamabiko::token(self::user(), 'chat:one'));
        $haru = self::page(Yamabiko::token(self::user(12, 'Haru'), 'chat:one'));
        foreach (self::ways() as $via) {
            Yamabiko::channel('chat:one')->to(self::user(12, 'Haru'))->via($via)->send(['message' => 'for Haru']);
            Yamabiko::channel('chat:one')->via($via)->send(['message' => 'also for Haru', 'target_user_id' => 12]);
            Yamabiko::channel('chat:one')->via($via)->send(['message' => 'for all', 'target_user_id' => null]);
            foreach (['for Haru', 'also for Haru', 'for all'] as $message) {
                $this->assertSame(['message' => $message], $haru->next()['data']);
            }
            $this->assertSame(['message' => 'for all'], $aoi->next()['data']);
        }
    }

    public function test_a_missing_user_never_makes_a_message_public(): void
    {
        foreach ([null, 0, '', -1, 7.0, true, [], str_repeat('x', 65)] as $nobody) {
            try {
                Yamabiko::channel('chat:one')->to($nobody)->send(['message' => 'secret']);
                $this->fail(var_export($nobody, true).' is taken for a user');
            } catch (InvalidArgumentException) {
                $this->addToAssertionCount(1);
            }
        }
        $this->expectException(LogicException::class);
        Yamabiko::channel('chat:one')->to(7)->type('typing')->send(['message' => 'secret']);
    }

    public function test_what_the_server_would_drop_is_an_exception(): void
    {
        foreach (['', str_repeat('x', 201), "chat:\n", "chat:\xff"] as $name) {
            try {
                Yamabiko::channel($name);
                $this->fail('accepted: '.json_encode($name, JSON_INVALID_UTF8_SUBSTITUTE));
            } catch (InvalidArgumentException) {
                $this->addToAssertionCount(1);
            }
        }
        $this->expectException(InvalidArgumentException::class);
        Yamabiko::channel('chat:')->send(['a list', 'is no object']);
    }

    public function test_a_type_of_the_application_reaches_pages(): void
    {
        $page = self::page(Yamabiko::token(self::user(), 'chat:typing'));
        foreach (['redis', 'stream'] as $via) {
            Yamabiko::channel('chat:typing')->type('userTyping')->via($via)->send(['user' => 7]);
            $frame = $page->next();
            $this->assertSame(['userTyping', ['user' => 7]], [$frame['type'], $frame['data']]);
        }
    }

    public function test_a_receipt_says_what_is_known(): void
    {
        $redis = Yamabiko::channel('chat:receipt')->send(['message' => 'x']);
        $this->assertSame(1, $redis->nodes);
        $this->assertMatchesRegularExpression('/^\d+-\d+$/', (string) Yamabiko::channel('chat:receipt')->durably()->send(['message' => 'x'])->entry);
        $http = Yamabiko::channel('chat:receipt')->via('http')->send(['message' => 'x', 'colour' => 'red']);
        $this->assertNotNull($http->position);
        $this->assertSame(['colour'], $http->omitted);
        $once = fn () => Yamabiko::channel('chat:receipt')->via('http')->once('order-7')->send(['message' => 'once'])->position;
        $this->assertSame($once(), $once());
    }

    public function test_errors_name_the_reason_and_no_secret(): void
    {
        $this->application(['yamabiko.http.key' => 'wrong-key-of-the-application', 'yamabiko.via' => 'http']);
        try {
            Yamabiko::channel('chat:')->send(['message' => 'x']);
            $this->fail('a wrong key is accepted');
        } catch (PublishException $error) {
            $this->assertSame('unknown_key', $error->problem);
            $this->assertStringContainsString('401', $error->getMessage());
            $this->assertStringNotContainsString('wrong-key', (string) $error);
        }
        $this->application(['yamabiko.http.url' => 'http://127.0.0.1:1', 'database.redis.default' => ['host' => '127.0.0.1', 'port' => 1]]);
        foreach (self::ways() as $via) {
            try {
                Yamabiko::channel('chat:')->via($via)->send(['message' => 'x']);
                $this->fail("{$via} reports success without a server");
            } catch (PublishException) {
                $this->addToAssertionCount(1);
            }
        }
    }

    public function test_users_are_disconnected_logged_out_and_banned_over_redis_and_http(): void
    {
        foreach (['redis', 'http'] as $index => $via) {
            $this->application(['yamabiko.via' => $via]);
            $user = self::user(100 + $index);
            $page = self::page(Yamabiko::token($user, 'chat:a'));
            $elsewhere = self::page(Yamabiko::token($user, 'chat:b'));
            Yamabiko::disconnect($user, 'chat:a');
            $this->assertSame(4403, $page->closeCode());
            Yamabiko::disconnect($user);
            $this->assertSame(4403, $elsewhere->closeCode());

            $page = self::page($token = Yamabiko::token($user, 'chat:a'));
            Yamabiko::logOut($user);
            $this->assertSame(4401, $page->closeCode());
            $this->assertRefused($token);

            $user = self::user(200 + $index);
            $page = self::page(Yamabiko::token($user, 'chat:a'));
            Yamabiko::ban($user, time() + 3600);
            $this->assertSame(4401, $page->closeCode());
            $this->assertRefused(Yamabiko::token($user, 'chat:a'));
        }
    }

    public function test_an_entry_of_the_stream_survives_a_serializer_of_the_connection(): void
    {
        $this->application(['database.redis.options.serializer' => \Redis::SERIALIZER_IGBINARY]);
        $page = self::page(Yamabiko::token(self::user(), 'chat:serialized'));
        foreach (['stream', 'redis'] as $via) {
            Yamabiko::channel('chat:serialized')->via($via)->send(['message' => $via]);
            $this->assertSame(['message' => $via], $page->next()['data']);
        }
    }

    private function assertRefused(string $token): void
    {
        try {
            new WebSocket(self::$server->port, "/ws?token={$token}");
            $this->fail('a revoked token connects');
        } catch (RuntimeException $error) {
            $this->assertStringContainsString('revoked', $error->getMessage());
        }
    }
}
