<?php

namespace Yamabiko\Laravel\Publishing;

use Yamabiko\Laravel\Message;

/** A way from the application to the server. */
interface Publisher
{
    /** @throws PublishException */
    public function publish(Message $message): Receipt;

    /**
     * Closes the connections of a user to native channels.
     *
     * @throws PublishException
     */
    public function disconnectUser(int|string $user, ?string $channel): void;

    /**
     * Revokes tokens of native channels.
     *
     * @param  array{user?: int|string, jti?: string, before?: int, until?: int}  $revocation
     *
     * @throws PublishException
     */
    public function revoke(array $revocation): void;
}
