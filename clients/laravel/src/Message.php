<?php

namespace Yamabiko\Laravel;

use Yamabiko\Laravel\Users\User;

/** A message for a native channel. */
final class Message
{
    /** @param  array<array-key, mixed>  $data */
    public function __construct(
        public readonly string $channel,
        public readonly array $data,
        public readonly ?User $sender = null,
        public readonly int|string|null $to = null,
        public readonly ?string $type = null,
        public readonly ?string $idempotencyKey = null,
    ) {}
}
