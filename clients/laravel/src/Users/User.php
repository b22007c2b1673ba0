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
    ) {
        self::checkId($id);
    }

    /** @throws InvalidArgumentException for what cannot be a user, such as null: a missing user must not become everyone */
    public static function checkId(mixed $id): int|string
    {
        // The server reads 0 and "" as "everyone" where it expects the target of a message.
        if ((is_int($id) && $id > 0) || (is_string($id) && $id !== '' && strlen($id) <= self::MAX_ID_BYTES)) {
            return $id;
        }

        throw new InvalidArgumentException('The ID of a user must be a positive integer or a string of 1 to '.self::MAX_ID_BYTES.' bytes.');
    }

    /** @return array{id: int|string, name: string} */
    public function toArray(): array
    {
        return ['id' => $this->id, 'name' => $this->name];
    }
}
