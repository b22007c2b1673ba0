<?php

namespace Yamabiko\Laravel;

use Illuminate\Contracts\Support\Arrayable;
use Illuminate\Support\Arr;
use InvalidArgumentException;
use JsonSerializable;
use LogicException;
use Yamabiko\Laravel\Publishing\Receipt;
use Yamabiko\Laravel\Users\User;

/** A message that is being composed: `Yamabiko::channel('chat:default')->as($user)->send([...])`. */
final class PendingMessage
{
    private ?User $sender = null;

    private int|string|null $to = null;

    private ?string $type = null;

    private ?string $idempotencyKey = null;

    private ?string $via = null;

    public function __construct(
        private readonly Yamabiko $yamabiko,
        private readonly string $channel,
    ) {}

    /** Sends as this user: a model, or an ID with a name. Otherwise the message comes from the server's `sender`, System. */
    public function as(mixed $user, ?string $name = null): self
    {
        $this->sender = $this->yamabiko->users()->user($user, $name);

        return $this;
    }

    /** Sends only to the connections of this user on the channel. Its kind needs `targeting`, as `chat` has. */
    public function to(mixed $user): self
    {
        $this->to = $this->yamabiko->users()->target($user);

        return $this;
    }

    /** Gives the message a `type` of the application's own. It reaches everyone on the channel, with all of its data. */
    public function type(string $type): self
    {
        $this->type = $type;

        return $this;
    }

    /** Publishes a message with the same key once within five minutes. Only over HTTP. */
    public function once(string $key): self
    {
        $this->idempotencyKey = $key;

        return $this;
    }

    /**
     * Adds the message to the ingest stream: nodes that start later deliver it, too. The server reads the stream only
     * if some channel has a history.
     */
    public function durably(): self
    {
        return $this->via('stream');
    }

    /** Publishes in another way than `yamabiko.via` says: "redis", "stream" or "http". */
    public function via(string $publisher): self
    {
        $this->via = $publisher;

        return $this;
    }

    /**
     * @param  array<array-key, mixed>|Arrayable<array-key, mixed>|JsonSerializable  $data  becomes a JSON object
     *
     * @throws Publishing\PublishException
     */
    public function send(array|Arrayable|JsonSerializable $data): Receipt
    {
        if ($this->type !== null && $this->to !== null) {
            throw new LogicException('A message with a type reaches everyone on its channel: it cannot be sent to one user.');
        }

        $data = $this->object($data);
        $to = $this->to;
        if ($this->type === null && array_key_exists('target_user_id', $data)) {
            // What applications that publish by hand write instead of to(). Nothing in it stands for everyone.
            $target = Arr::pull($data, 'target_user_id');
            $to ??= in_array($target, [null, 0, '', false], true) ? null : $this->yamabiko->users()->target($target);
        }

        return $this->yamabiko->publisher($this->via)->publish(new Message(
            $this->channel,
            $data,
            $this->sender,
            $to,
            $this->type,
            $this->idempotencyKey,
        ));
    }

    /**
     * @param  array<array-key, mixed>|Arrayable<array-key, mixed>|JsonSerializable  $data
     * @return array<array-key, mixed>
     */
    private function object(array|Arrayable|JsonSerializable $data): array
    {
        $data = match (true) {
            is_array($data) => $data,
            $data instanceof Arrayable => $data->toArray(),
            default => $data->jsonSerialize(),
        };
        if (! is_array($data) || ($data !== [] && array_is_list($data))) {
            throw new InvalidArgumentException('The data of a message must be an array with keys.');
        }

        return $data;
    }
}
