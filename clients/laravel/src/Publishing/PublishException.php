<?php

namespace Yamabiko\Laravel\Publishing;

use RuntimeException;
use Throwable;

/** Redis or the server did not accept a message. */
final class PublishException extends RuntimeException
{
    /** @param  string|null  $problem  over HTTP: the stable code of the server's answer, such as "invalid_channel" */
    public function __construct(string $message, public readonly ?string $problem = null, ?Throwable $previous = null)
    {
        parent::__construct($message, 0, $previous);
    }
}
