<?php

namespace Yamabiko\Laravel\Events;

use Yamabiko\Laravel\Users\User;

/** A message of a client was accepted. */
final class MessageReceived extends ChannelEvent
{
    /**
     * @param  array<array-key, mixed>  $data
     * @param  string|null  $position  on channels with a history: the position of the message
     */
    public function __construct(
        string $eventId,
        int $time,
        string $channel,
        public readonly User $sender,
        public readonly array $data,
        public readonly ?string $position,
    ) {
        parent::__construct($eventId, $time, $channel);
    }
}
