<?php

namespace Yamabiko\Laravel\Events;

/** The first connection of a user is on the channel, on all nodes. */
final class UserOnline extends ChannelEvent
{
    public function __construct(
        string $eventId,
        int $time,
        string $channel,
        public readonly int|string $userId,
    ) {
        parent::__construct($eventId, $time, $channel);
    }
}
