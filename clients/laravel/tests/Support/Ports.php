<?php

namespace Yamabiko\Laravel\Tests\Support;

use RuntimeException;

final class Ports
{
    /** A port that was free a moment ago. */
    public static function free(): int
    {
        $listener = stream_socket_server('tcp://127.0.0.1:0') ?: throw new RuntimeException('no free port');
        $port = (int) substr((string) strrchr((string) stream_socket_get_name($listener, false), ':'), 1);
        fclose($listener);

        return $port;
    }
}
