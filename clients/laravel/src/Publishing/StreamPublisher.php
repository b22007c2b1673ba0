<?php

namespace Yamabiko\Laravel\Publishing;

use Illuminate\Contracts\Redis\Factory;
use Throwable;
use Yamabiko\Laravel\Message;
use Yamabiko\Laravel\Redis\RawRedis;

/** Adds messages to the stream `<prefix>yamabiko:in`, which the nodes read: what is added while no node is running is delivered later. */
final class StreamPublisher extends RedisPublisher implements EventPublisher
{
    private const STREAM = 'yamabiko:in';

    public function __construct(Factory $redis, ?string $connection, private readonly ?string $app)
    {
        parent::__construct($redis, $connection);
    }

    public function publish(Message $message): Receipt
    {
        return new Receipt(entry: $this->add(self::envelope($message)));
    }

    public function broadcast(array $channels, string $event, array $data, ?string $socket): void
    {
        foreach ($channels as $channel) {
            $entry = ['app' => $this->app, 'channel' => $channel, 'event' => $event, 'data' => (object) $data];
            $this->add($socket === null ? $entry : $entry + ['socket_id' => $socket]);
        }
    }

    /** @param  array<string, mixed>  $payload */
    private function add(array $payload): string
    {
        $json = Json::encode($payload + Trace::current());
        try {
            $redis = new RawRedis($this->redis->connection($this->connection));
            $entry = $redis->run('XADD', $redis->key(self::STREAM), '*', 'payload', $json);
        } catch (Throwable $error) {
            throw new PublishException('Redis did not take the message: '.$error->getMessage(), previous: $error);
        }
        if (! is_string($entry)) {
            throw new PublishException('Redis did not take the message.');
        }

        return $entry;
    }
}
