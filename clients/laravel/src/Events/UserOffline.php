<?php

namespace Yamabiko\Laravel\Events;

/** The last connection of a user has left the channel, on all nodes. */
final class UserOffline extends ChannelEvent
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
