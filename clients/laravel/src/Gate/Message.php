<?php

namespace Yamabiko\Laravel\Gate;

use JsonException;
use stdClass;
use UnexpectedValueException;
use Yamabiko\Laravel\Users\User;

/** A message of a client before it is published. */
final class Message
{
    /** @param  stdClass  $data  what the client wrote. An object, because an array does not tell {} from [] */
    public function __construct(
        public readonly string $channel,
        public readonly User $sender,
        public readonly stdClass $data,
    ) {}

    /** @throws UnexpectedValueException */
    public static function fromJson(string $json): self
    {
        try {
            $message = json_decode($json, false, 512, JSON_THROW_ON_ERROR);
        } catch (JsonException $error) {
            throw new UnexpectedValueException('Not JSON: '.$error->getMessage(), 0, $error);
        }
        [$channel, $sender, $data] = self::values($message, 'channel', 'sender', 'data');
        [$id, $name] = self::values($sender, 'id', 'name');
        if (! is_string($channel) || ! $data instanceof stdClass || ! is_string($name) || ! (is_int($id) || is_string($id))) {
            throw new UnexpectedValueException('Not a message of a client.');
        }

        return new self($channel, new User($id, $name), $data);
    }

    /** @return list<mixed> null for what is not there */
    private static function values(mixed $object, string ...$names): array
    {
        return array_map(fn (string $name) => $object instanceof stdClass ? $object->{$name} ?? null : null, array_values($names));
    }

    /** A value of the data, by its key or by a path such as `tweet.content`. */
    public function get(string $key, mixed $default = null): mixed
    {
        return data_get($this->data, $key, $default);
    }

    /** The data with another value, for Decision::rewrite(). */
    public function with(string $key, mixed $value): stdClass
    {
        $data = clone $this->data;
        $data->{$key} = $value;

        return $data;
    }
}
