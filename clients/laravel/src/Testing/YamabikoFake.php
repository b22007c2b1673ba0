<?php

namespace Yamabiko\Laravel\Testing;

use PHPUnit\Framework\Assert;
use Yamabiko\Laravel\Message;
use Yamabiko\Laravel\Publishing\Publisher;
use Yamabiko\Laravel\Publishing\Receipt;
use Yamabiko\Laravel\Tokens\TokenIssuer;
use Yamabiko\Laravel\Yamabiko;

/** Remembers what the application sends instead of sending it. Tokens are signed with a secret of its own. */
final class YamabikoFake extends Yamabiko implements Publisher
{
    /** @var list<Message> */
    private array $messages = [];

    /** @var list<array{user: int|string, channel: string|null}> */
    private array $disconnected = [];

    /** @var list<array{user?: int|string, jti?: string, before?: int, until?: int}> */
    private array $revoked = [];

    public function __construct(Yamabiko $real)
    {
        parent::__construct(
            fn () => $this,
            'redis',
            $real->url,
            new TokenIssuer('the secret of Yamabiko::fake() for tests'),
            $real->rules,
            $real->users,
        );
    }

    public function publish(Message $message): Receipt
    {
        $this->messages[] = $message;

        return new Receipt(nodes: 1);
    }

    public function disconnectUser(int|string $user, ?string $channel): void
    {
        $this->disconnected[] = ['user' => $user, 'channel' => $channel];
    }

    public function revoke(array $revocation): void
    {
        $this->revoked[] = $revocation;
    }

    /** @param  (callable(Message): bool)|null  $callback */
    public function assertSent(string $channel, ?callable $callback = null): void
    {
        Assert::assertNotEmpty($this->sent($channel, $callback), "No such message was sent on [{$channel}].");
    }

    /** @param  (callable(Message): bool)|null  $callback */
    public function assertSentTo(mixed $user, string $channel, ?callable $callback = null): void
    {
        $id = $this->users->target($user);
        $sent = array_filter($this->sent($channel, $callback), fn (Message $message) => (string) $message->to === (string) $id);
        Assert::assertNotEmpty($sent, "No such message was sent to the user [{$id}] on [{$channel}].");
    }

    /** @param  (callable(Message): bool)|null  $callback */
    public function assertNotSent(string $channel, ?callable $callback = null): void
    {
        Assert::assertEmpty($this->sent($channel, $callback), "An unexpected message was sent on [{$channel}].");
    }

    public function assertSentTimes(string $channel, int $times): void
    {
        $count = count($this->sent($channel));
        Assert::assertSame($times, $count, "{$count} messages were sent on [{$channel}] instead of {$times}.");
    }

    public function assertNothingSent(): void
    {
        $channels = implode(', ', array_unique(array_map(fn (Message $message) => $message->channel, $this->messages)));
        Assert::assertSame([], $this->messages, "Messages were sent on [{$channels}].");
    }

    public function assertDisconnected(mixed $user, ?string $channel = null): void
    {
        $entry = ['user' => $this->users->id($user), 'channel' => $channel];
        Assert::assertContains($entry, $this->disconnected, 'The user was not disconnected.');
    }

    /** Whether tokens of the user were revoked, by logOut() or ban(). */
    public function assertRevoked(mixed $user): void
    {
        Assert::assertContains($this->users->id($user), array_column($this->revoked, 'user'), 'No token of the user was revoked.');
    }

    /**
     * @param  (callable(Message): bool)|null  $callback
     * @return list<Message>
     */
    public function sent(string $channel, ?callable $callback = null): array
    {
        return array_values(array_filter(
            $this->messages,
            fn (Message $message) => $message->channel === $channel && ($callback === null || $callback($message)),
        ));
    }
}
