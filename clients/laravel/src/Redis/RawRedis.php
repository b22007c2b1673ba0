<?php

namespace Yamabiko\Laravel\Redis;

use Illuminate\Redis\Connections\Connection;
use Predis\Client;
use Predis\Command\Processor\KeyPrefixProcessor;
use Redis;
use RuntimeException;

/**
 * Commands that phpredis and Predis spell differently, or to which phpredis applies the serializer of the connection: sent
 * as they are, with the prefix put before keys by hand.
 */
final class RawRedis
{
    public function __construct(private readonly Connection $connection) {}

    public function key(string $name): string
    {
        $client = $this->connection->client();
        if ($client instanceof Redis) {
            return $client->_prefix($name);
        }
        $prefix = $client instanceof Client ? $client->getOptions()->prefix : null;

        return ($prefix instanceof KeyPrefixProcessor ? $prefix->getPrefix() : '').$name;
    }

    /**
     * @return mixed the reply; null for none, such as that of a read that has found nothing
     *
     * @throws RuntimeException if Redis answers with an error
     */
    public function run(string|int ...$command): mixed
    {
        $client = $this->connection->client();
        $error = null;
        if ($client instanceof Redis) {
            $client->clearLastError();
            // Through the connection, which reconnects after Redis has gone away.
            $reply = $this->connection->command('rawCommand', $command);
            $client = $this->connection->client();
            $error = $client instanceof Redis ? $client->getLastError() : null;
            $reply = $reply === false ? null : $reply;
        } elseif ($client instanceof Client) {
            $failed = false;
            $reply = $client->executeRaw(array_map('strval', $command), $failed);
            $error = $failed ? $reply : null;
        } else {
            throw new RuntimeException('the client is neither phpredis nor Predis');
        }
        if ($error !== null) {
            throw new RuntimeException(is_string($error) ? $error : 'unknown error');
        }

        return $reply;
    }
}
