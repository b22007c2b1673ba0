<?php

namespace Yamabiko\Laravel\Pulse;

/** What a node says about itself. */
final class NodeFigures
{
    private function __construct(
        /** A new one at every start. */
        public readonly string $name,
        public readonly string $host,
        /** `ready`, or why messages cannot be published. */
        public readonly string $broker,
        public readonly bool $isDraining,
        public readonly int $connections,
        /** Those with a subscriber on the node. */
        public readonly int $channels,
        /** The messages that arrived for delivery since its start. Every node gets those of all nodes. */
        public readonly int $messages,
    ) {}

    /** @param  array<mixed>  $node */
    public static function from(array $node): self
    {
        $text = fn (string $key) => is_string($node[$key] ?? null) ? $node[$key] : '';
        $count = fn (string $key) => is_int($node[$key] ?? null) ? $node[$key] : 0;

        return new self(
            $text('name'),
            $text('host'),
            $text('broker'),
            ($node['draining'] ?? null) === true,
            $count('connections'),
            $count('channels'),
            $count('messages_received'),
        );
    }

    /** What the card shows of its state. */
    public function state(): string
    {
        return $this->isDraining ? 'shutting down' : $this->broker;
    }
}
