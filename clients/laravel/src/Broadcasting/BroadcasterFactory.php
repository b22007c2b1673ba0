<?php

namespace Yamabiko\Laravel\Broadcasting;

use Illuminate\Contracts\Redis\Factory as Redis;
use Yamabiko\Laravel\Publishing\EventPublisher;
use Yamabiko\Laravel\Publishing\PublisherFactory;
use Yamabiko\Laravel\Settings;

/** Makes the broadcaster of a connection in config/broadcasting.php. */
final class BroadcasterFactory
{
    public function __construct(
        private readonly Redis $redis,
        private readonly Settings $settings,
        private readonly PublisherFactory $publishers,
    ) {}

    /** @param  array<array-key, mixed>  $config  whose `via`, `connection`, `key` and `secret` precede those of config/yamabiko.php */
    public function make(array $config): YamabikoBroadcaster
    {
        $text = fn (string $key, ?string $default): ?string => is_string($config[$key] ?? null) ? $config[$key] : $default;
        $publisher = $this->publishers->make($text('via', null) ?? $this->settings->text('via'));

        return new YamabikoBroadcaster(
            $this->redis,
            $text('connection', $this->settings->optionalText('redis.connection')),
            $this->settings->redisPrefix(),
            $text('key', $this->settings->optionalText('app.key')),
            $text('secret', $this->settings->optionalText('app.secret')),
            $publisher instanceof EventPublisher ? $publisher : null,
        );
    }
}
