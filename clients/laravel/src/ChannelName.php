<?php

namespace Yamabiko\Laravel;

use InvalidArgumentException;

/** The server's rule for names of native channels: 1 to 200 bytes of UTF-8 without control characters, compared exactly. */
final class ChannelName
{
    private const MAX_BYTES = 200;

    /** @throws InvalidArgumentException */
    public static function check(string $name): string
    {
        if (strlen($name) > self::MAX_BYTES || preg_match('/\A[^\p{Cc}]+\z/u', $name) !== 1) {
            throw new InvalidArgumentException('The name of a channel must be 1 to '.self::MAX_BYTES.' bytes of UTF-8 without control characters.');
        }

        return $name;
    }
}
