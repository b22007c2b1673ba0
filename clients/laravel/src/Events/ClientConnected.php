<?php

namespace Yamabiko\Laravel\Events;

use Yamabiko\Laravel\Users\User;

/** A client has connected. */
final class ClientConnected extends ChannelEvent
{
    /** @param  string  $connection  the same as in the ClientDisconnected of this connection */
    public function __construct(
        string $eventId,
        int $time,
        string $channel,
        public readonly string $connection,
        public readonly User $user,
    ) {
        parent::__construct($eventId, $time, $channel);
    }
}
