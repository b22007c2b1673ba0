<?php

namespace Yamabiko\Laravel\Redis;

use Illuminate\Redis\Connections\Connection;
use RuntimeException;

/** The stream `<prefix>yamabiko:events`, read by a consumer group: each entry by one of its consumers, until it is acknowledged. */
final class EventStream
{
    private const STREAM = 'yamabiko:events';

    private const DEAD = 'yamabiko:events:dead';

    private const DEAD_ENTRIES = 1000;

    private readonly RawRedis $redis;

    private readonly string $key;

    public function __construct(
        Connection $connection,
        private readonly string $group,
        private readonly string $consumer,
    ) {
        $this->redis = new RawRedis($connection);
        $this->key = $this->redis->key(self::STREAM);
    }

    /** A new group starts with the oldest entry that is kept. */
    public function createGroup(): void
    {
        try {
            $this->redis->run('XGROUP', 'CREATE', $this->key, $this->group, '0', 'MKSTREAM');
        } catch (RuntimeException $error) {
            if (! str_starts_with($error->getMessage(), 'BUSYGROUP')) {
                throw $error;
            }
        }
    }

    /**
     * What this consumer has read and not acknowledged.
     *
     * @return array<string, string|null> payloads by entry ID; null if the entry is no longer kept
     */
    public function pending(int $count): array
    {
        return self::entries($this->redis->run('XREADGROUP', 'GROUP', $this->group, $this->consumer, 'COUNT', $count, 'STREAMS', $this->key, '0'));
    }

    /**
     * New entries; waits for one.
     *
     * @return array<string, string|null>
     */
    public function next(int $count, int $milliseconds): array
    {
        return self::entries($this->redis->run(
            'XREADGROUP',
            'GROUP',
            $this->group,
            $this->consumer,
            'COUNT',
            $count,
            'BLOCK',
            $milliseconds,
            'STREAMS',
            $this->key,
            '>',
        ));
    }

    /** Takes over what other consumers have read and not acknowledged for a while: they are gone. Returns how many entries that are. */
    public function claim(int $milliseconds, int $count): int
    {
        $reply = $this->redis->run('XAUTOCLAIM', $this->key, $this->group, $this->consumer, $milliseconds, '0', 'COUNT', $count, 'JUSTID');

        return is_array($reply) && is_array($reply[1] ?? null) ? count($reply[1]) : 0;
    }

    public function acknowledge(string $entry): void
    {
        $this->redis->run('XACK', $this->key, $this->group, $entry);
    }

    /** Puts an entry aside that no listener could take, with the reason. */
    public function bury(string $entry, string $payload, string $reason): void
    {
        $dead = $this->redis->key(self::DEAD);
        $this->redis->run('XADD', $dead, 'MAXLEN', '~', self::DEAD_ENTRIES, '*', 'entry', $entry, 'reason', $reason, 'payload', $payload);
        $this->acknowledge($entry);
    }

    /** @return array<string, string|null> */
    private static function entries(mixed $reply): array
    {
        $stream = is_array($reply) ? $reply[0] ?? null : null;
        $list = is_array($stream) ? $stream[1] ?? null : null;
        $entries = [];
        foreach (is_array($list) ? $list : [] as $entry) {
            if (is_array($entry) && is_string($entry[0] ?? null)) {
                $entries[$entry[0]] = self::payload($entry[1] ?? null);
            }
        }

        return $entries;
    }

    /** @param  mixed  $fields  names and values in turn */
    private static function payload(mixed $fields): ?string
    {
        foreach (array_chunk(is_array($fields) ? $fields : [], 2) as $field) {
            if ($field[0] === 'payload' && is_string($field[1] ?? null)) {
                return $field[1];
            }
        }

        return null;
    }
}
