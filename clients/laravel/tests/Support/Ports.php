<?php

namespace Yamabiko\Laravel\Tests\Support;

final class Ports
{
    /** Below the ports that Linux gives to outgoing connections. */
    private const FIRST = 10_000;

    private const LAST = 31_999;

    /** @var list<resource> */
    private static array $leases = [];

    /** A port of 127.0.0.1 on which nobody listens. Its lease is a UDP socket on the same port, as in tests/ports.mjs. */
    public static function free(): int
    {
        for (; ;) {
            $port = random_int(self::FIRST, self::LAST);
            $lease = @stream_socket_server("udp://127.0.0.1:{$port}", $code, $message, STREAM_SERVER_BIND);
            $listener = $lease === false ? false : @stream_socket_server("tcp://0.0.0.0:{$port}");
            if ($lease !== false && $listener !== false) {
                fclose($listener);
                self::$leases[] = $lease;

                return $port;
            }
        }
    }
}
