<?php

namespace Yamabiko\Laravel;

use Closure;
use DateTimeInterface;
use Yamabiko\Laravel\Publishing\Publisher;
use Yamabiko\Laravel\Tokens\ChannelRules;
use Yamabiko\Laravel\Tokens\TokenIssuer;
use Yamabiko\Laravel\Users\UserResolver;

/** What the facade offers. */
class Yamabiko
{
    /** @var array<string, Publisher> */
    private array $publishers = [];

    /** @param  Closure(string): Publisher  $connect  makes the publisher of a name that `yamabiko.via` may have */
    public function __construct(
        private readonly Closure $connect,
        private readonly string $via,
        protected readonly string $url,
        private readonly TokenIssuer $tokens,
        protected readonly ChannelRules $rules,
        protected readonly UserResolver $users,
    ) {}

    /** Begins a message for a native channel. */
    public function channel(string $channel): PendingMessage
    {
        return new PendingMessage($this, ChannelName::check($channel));
    }

    /**
     * Signs a token for a user on a channel. Whoever calls this has decided that the user may join.
     *
     * @param  array<string, mixed>  $claims
     */
    public function token(mixed $user, string $channel, ?int $ttl = null, array $claims = []): string
    {
        return $this->tokens->issue($this->users->user($user), $channel, $ttl, $claims);
    }

    /**
     * What a page needs to connect.
     *
     * @return array{url: string, token: string}
     */
    public function connection(mixed $user, string $channel, ?int $ttl = null): array
    {
        return ['url' => $this->url, 'token' => $this->token($user, $channel, $ttl)];
    }

    /**
     * Decides who gets a token from the token route, as Broadcast::channel() does for Echo: `authorize('chat:{room}', …)`.
     *
     * @param  array<string, mixed>  $options
     */
    public function authorize(string $pattern, callable|string $callback, array $options = []): void
    {
        $this->rules->channel($pattern, $callback, $options);
    }

    /**
     * Sets where the ID and the name of a user come from. By default, that is getAuthIdentifier() and `name`.
     *
     * @param  (callable(mixed): array{id: int|string, name: string})|null  $callback
     */
    public function identifyUsing(?callable $callback): void
    {
        $this->users->using($callback);
    }

    /** Closes the user's connections to native channels, or to one of them. Their tokens stay valid. */
    public function disconnect(mixed $user, ?string $channel = null): void
    {
        $this->publisher()->disconnectUser($this->users->id($user), $channel === null ? null : ChannelName::check($channel));
    }

    /** Revokes the tokens that the user has, and closes their connections. Tokens that are signed later are valid. */
    public function logOut(mixed $user): void
    {
        // `iat` has whole seconds: tokens of the current second are included.
        $this->publisher()->revoke(['user' => $this->users->id($user), 'before' => time() + 1]);
    }

    /**
     * Revokes the user's tokens, also those that are signed until the ban ends: after the server's auth.max_token_age, or at `until`.
     * PHP_INT_MAX bans for ever.
     */
    public function ban(mixed $user, DateTimeInterface|int|null $until = null): void
    {
        $until = $until instanceof DateTimeInterface ? $until->getTimestamp() : $until;
        $this->publisher()->revoke(['user' => $this->users->id($user)] + ($until === null ? [] : ['until' => $until]));
    }

    /** Revokes one token. */
    public function revokeToken(string $jti): void
    {
        $this->publisher()->revoke(['jti' => $jti]);
    }

    public function publisher(?string $via = null): Publisher
    {
        $via ??= $this->via;

        return $this->publishers[$via] ??= ($this->connect)($via);
    }

    public function users(): UserResolver
    {
        return $this->users;
    }

    public function rules(): ChannelRules
    {
        return $this->rules;
    }
}
