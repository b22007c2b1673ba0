<?php

namespace Yamabiko\Laravel\Users;

use InvalidArgumentException;

/** A user as the server knows them: an integer or a text of up to 64 bytes, and a display name. */
final class User
{
    private const MAX_ID_BYTES = 64;

    public function __construct(
        public readonly int|string $id,
        public readonly string $name,
    ) {}

    /** @throws InvalidArgumentException for what the server does not accept as the ID of a user */
    public static function checkId(mixed $id): int|string
    {
        if (is_int($id) || (is_string($id) && $id !== '' && strlen($id) <= self::MAX_ID_BYTES)) {
            return $id;
        }

        throw new InvalidArgumentException('The ID of a user must be an integer or a string of 1 to '.self::MAX_ID_BYTES.' bytes.');
    }

    /** @return array{id: int|string, name: string} */
    public function toArray(): array
    {
        return ['id' => $this->id, 'name' => $this->name];
    }
}
