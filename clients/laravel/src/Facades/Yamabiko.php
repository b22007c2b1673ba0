<?php

namespace Yamabiko\Laravel\Facades;

use Illuminate\Support\Facades\Facade;

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
 *
 * @see \Yamabiko\Laravel\Yamabiko
 */
class Yamabiko extends Facade
{
    protected static function getFacadeAccessor(): string
    {
        return \Yamabiko\Laravel\Yamabiko::class;
    }
}
