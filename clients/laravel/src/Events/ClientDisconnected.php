<?php

namespace Yamabiko\Laravel\Events;

use Yamabiko\Laravel\Users\User;

/** The connection of a client has ended. */
final class ClientDisconnected extends ChannelEvent
{
    /** @param  int|null  $code  the close code */
    public function __construct(
        string $eventId,
        int $time,
        string $channel,
        public readonly string $connection,
        public readonly User $user,
        public readonly string $reason,
        public readonly ?int $code,
    ) {
        parent::__construct($eventId, $time, $channel);
    }
}
