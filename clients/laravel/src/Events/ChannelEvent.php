<?php

namespace Yamabiko\Laravel\Events;

/**
 * Something that happened on a native channel, from a webhook or the event stream. It may come twice, with the same
 * `eventId`.
 */
abstract class ChannelEvent implements ServerEvent
{
    /** @param  int  $time  milliseconds since 1970 */
    public function __construct(
        public readonly string $eventId,
        public readonly int $time,
        public readonly string $channel,
    ) {}
}
