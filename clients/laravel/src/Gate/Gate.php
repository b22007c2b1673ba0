<?php

namespace Yamabiko\Laravel\Gate;

/** Decides about each message of a client on kinds of channels with a gate. */
interface Gate
{
    /**
     * The server waits for the decision, for a second by default: store nothing here. After an exception, the server does
     * what the gate's `on_failure` says.
     */
    public function handles(Message $message): Decision;
}
