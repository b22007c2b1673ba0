<?php

namespace Yamabiko\Laravel\Publishing;

use Illuminate\Contracts\Redis\Factory;
use LogicException;
use Throwable;
use Yamabiko\Laravel\Message;

/** Publishes on `<prefix>broadcast`, to which the nodes are subscribed. */
class RedisPublisher implements Publisher
{
    public function __construct(
        protected readonly Factory $redis,
        protected readonly ?string $connection,
    ) {}

    public function publish(Message $message): Receipt
    {
        return new Receipt(nodes: $this->command(self::envelope($message) + Trace::current()));
    }

    public function disconnectUser(int|string $user, ?string $channel): void
    {
        $this->command(['disconnect' => array_filter(['user' => $user, 'channel' => $channel], fn ($value) => $value !== null)]);
    }

    public function revoke(array $revocation): void
    {
        $this->command(['revoke' => $revocation]);
    }

    /** @return array<string, mixed> */
    protected static function envelope(Message $message): array
    {
        if ($message->idempotencyKey !== null) {
            throw new LogicException('Only the HTTP API publishes a message with a key once: use via("http").');
        }
        $data = $message->data;
        if ($message->to !== null) {
            $data['target_user_id'] = $message->to;
        }
        $envelope = ['channel' => $message->channel, 'data' => (object) $data];
        if ($message->sender !== null) {
            $envelope['sender'] = $message->sender->toArray();
        }
        if ($message->type !== null) {
            $envelope['type'] = $message->type;
        }

        return $envelope;
    }

    /**
     * @param  array<string, mixed>  $command
     * @return int how many nodes have received it
     */
    private function command(array $command): int
    {
        $payload = Json::encode($command);
        try {
            $nodes = $this->redis->connection($this->connection)->command('publish', ['broadcast', $payload]);
        } catch (Throwable $error) {
            throw new PublishException('Redis did not take the message: '.$error->getMessage(), previous: $error);
        }
        if (! is_int($nodes)) {
            throw new PublishException('Redis did not take the message.');
        }

        return $nodes;
    }
}
