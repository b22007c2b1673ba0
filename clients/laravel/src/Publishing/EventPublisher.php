<?php

namespace Yamabiko\Laravel\Publishing;

/** A way for the events of Laravel Echo, besides Laravel's own over Redis. */
interface EventPublisher
{
    /**
     * @param  list<string>  $channels
     * @param  array<array-key, mixed>  $data
     * @param  string|null  $socket  a connection that does not receive the event
     *
     * @throws PublishException
     */
    public function broadcast(array $channels, string $event, array $data, ?string $socket): void;
}
