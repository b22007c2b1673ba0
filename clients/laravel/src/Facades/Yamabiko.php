<?php

namespace Yamabiko\Laravel\Facades;

use Illuminate\Support\Facades\Facade;
use RuntimeException;
use Yamabiko\Laravel\Testing\YamabikoFake;

/**
 * @method static \Yamabiko\Laravel\PendingMessage channel(string $channel)
 * @method static string token(mixed $user, string $channel, ?int $ttl = null, array<string, mixed> $claims = [])
 * @method static array{url: string, token: string} connection(mixed $user, string $channel, ?int $ttl = null)
 * @method static void authorize(string $pattern, callable|string $callback, array<string, mixed> $options = [])
 * @method static void identifyUsing(?callable $callback)
 * @method static void disconnect(mixed $user, ?string $channel = null)
 * @method static void logOut(mixed $user)
 * @method static void ban(mixed $user, \DateTimeInterface|int|null $until = null)
 * @method static void revokeToken(string $jti)
 * @method static void assertSent(string $channel, ?callable $callback = null)
 * @method static void assertSentTo(mixed $user, string $channel, ?callable $callback = null)
 * @method static void assertNotSent(string $channel, ?callable $callback = null)
 * @method static void assertSentTimes(string $channel, int $times)
 * @method static void assertNothingSent()
 * @method static void assertDisconnected(mixed $user, ?string $channel = null)
 * @method static void assertRevoked(mixed $user)
 *
 * @see \Yamabiko\Laravel\Yamabiko
 */
class Yamabiko extends Facade
{
    /** Sends nothing from now on, and offers assertions about what would have been sent. */
    public static function fake(): YamabikoFake
    {
        $real = static::getFacadeRoot();
        $fake = new YamabikoFake($real instanceof \Yamabiko\Laravel\Yamabiko ? $real : throw new RuntimeException('Yamabiko is not registered.'));
        static::swap($fake);

        return $fake;
    }

    protected static function getFacadeAccessor(): string
    {
        return \Yamabiko\Laravel\Yamabiko::class;
    }
}
