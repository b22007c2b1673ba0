<?php

namespace Yamabiko\Laravel\Pulse;

/** The figures of all nodes at a moment. */
final class NodeReading
{
    public function __construct(
        /** @var list<NodeFigures> */
        public readonly array $nodes,
        /** @var list<string> the names of nodes that have not answered */
        public readonly array $missing,
        /** In seconds of a clock that is not set. */
        public readonly float $at,
    ) {}

    public function connections(): int
    {
        return array_sum(array_column($this->nodes, 'connections'));
    }

    /** Since an earlier reading; null if no node was there then. */
    public function messagesPerSecond(?self $before): ?float
    {
        $seconds = $this->at - ($before->at ?? $this->at);
        $counts = array_column($before->nodes ?? [], 'messages', 'name');
        $messages = [];
        foreach ($this->nodes as $node) {
            if (isset($counts[$node->name])) {
                $messages[] = max(0, $node->messages - $counts[$node->name]);
            }
        }

        // Every node gets all messages: the one that has got the most has missed none.
        return $messages === [] || $seconds <= 0 ? null : max($messages) / $seconds;
    }

    /** @return array{messages_per_second: ?float, missing: list<string>, nodes: list<array{host: string, state: string, connections: int, channels: int}>} what the card shows */
    public function summary(?float $messagesPerSecond): array
    {
        return [
            'messages_per_second' => $messagesPerSecond,
            'missing' => $this->missing,
            'nodes' => array_map(fn (NodeFigures $node) => [
                'host' => $node->host,
                'state' => $node->state(),
                'connections' => $node->connections,
                'channels' => $node->channels,
            ], $this->nodes),
        ];
    }
}
