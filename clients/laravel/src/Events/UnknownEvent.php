<?php

namespace Yamabiko\Laravel\Events;

/** An event that this version of the package has no class for. */
final class UnknownEvent extends ChannelEvent
{
    /** @param  array<array-key, mixed>  $payload */
    public function __construct(
        string $eventId,
        int $time,
        string $channel,
        public readonly string $event,
        public readonly array $payload,
    ) {
        parent::__construct($eventId, $time, $channel);
    }
}
