<?php

namespace Yamabiko\Laravel\Publishing;

use Illuminate\Contracts\Container\Container;
use Illuminate\Contracts\Redis\Factory as Redis;
use Illuminate\Http\Client\Factory as Http;
use InvalidArgumentException;
use Yamabiko\Laravel\Settings;

/** Makes the publishers that `yamabiko.via` names. */
final class PublisherFactory
{
    public function __construct(
        private readonly Container $app,
        private readonly Settings $settings,
    ) {}

    public function make(string $via): Publisher
    {
        $connection = $this->settings->optionalText('redis.connection');
        $id = $this->settings->optionalText('app.id');

        return match ($via) {
            'redis' => new RedisPublisher($this->app->make(Redis::class), $connection),
            'stream' => new StreamPublisher($this->app->make(Redis::class), $connection, $id),
            'http' => new HttpPublisher(
                $this->app->make(Http::class),
                $this->settings->text('http.url'),
                $this->settings->optionalText('http.key'),
                $this->settings->number('http.timeout'),
                $id,
            ),
            default => throw new InvalidArgumentException("yamabiko.via must be redis, stream or http, not {$via}."),
        };
    }
}
