<?php

namespace Yamabiko\Laravel\Pulse;

use Laravel\Pulse\Events\IsolatedBeat;
use Laravel\Pulse\Pulse;

/** Records the figures of the nodes for Laravel Pulse, as a recorder in config/pulse.php. */
final class NodesRecorder
{
    public const CONNECTIONS = 'yamabiko_connections';

    public const MESSAGES = 'yamabiko_messages';

    public const NODES = 'yamabiko_nodes';

    /** All nodes are one entry: their names change at every start. */
    public const KEY = 'all';

    private const SECONDS = 15;

    /** @var class-string one process of pulse:check at a time gets this event, once a second */
    public string $listen = IsolatedBeat::class;

    private int $due = 0;

    private ?NodeReading $before = null;

    public function __construct(
        private readonly Pulse $pulse,
        private readonly NodeReader $reader,
    ) {}

    public function record(IsolatedBeat $event): void
    {
        $time = $event->time->getTimestamp();
        if ($time < $this->due) {
            return;
        }
        // Also if the server cannot be reached: each attempt may take as long as yamabiko.http.timeout.
        $this->due = $time + self::SECONDS;
        $reading = $this->reader->read();
        $rate = $reading->messagesPerSecond($this->before);
        $this->before = $reading;
        $this->pulse->record(self::CONNECTIONS, self::KEY, $reading->connections(), $time)->max()->onlyBuckets();
        if ($rate !== null) {
            $this->pulse->record(self::MESSAGES, self::KEY, (int) round($rate), $time)->max()->onlyBuckets();
        }
        $this->pulse->set(self::NODES, self::KEY, json_encode($reading->summary($rate), JSON_THROW_ON_ERROR), $time);
    }
}
