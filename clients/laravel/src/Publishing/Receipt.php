<?php

namespace Yamabiko\Laravel\Publishing;

/** What is known of a published message. */
final class Receipt
{
    /**
     * @param  int|null  $nodes  over Redis: how many nodes received the message. With 0 it is lost: no node is subscribed
     * @param  string|null  $entry  over the stream: the ID of the entry
     * @param  string|null  $position  over HTTP, on channels with a history: the position of the message
     * @param  list<string>  $omitted  over HTTP: the keys of the data that the kind of the channel does not deliver
     */
    public function __construct(
        public readonly ?int $nodes = null,
        public readonly ?string $entry = null,
        public readonly ?string $position = null,
        public readonly array $omitted = [],
    ) {}
}
