<?php

namespace App\Models;

use Illuminate\Contracts\Auth\Authenticatable;

/** A user without a database: three of them, and no passwords. */
final class User implements Authenticatable
{
    private const NAMES = ['aoi' => 'Aoi', 'haru' => 'Haru', 'sora' => 'Sora'];

    public function __construct(
        public readonly int|string $id,
        public readonly string $name,
    ) {}

    /** @return array<string, self> by the name with which they log in */
    public static function all(): array
    {
        $id = 0;

        return array_map(function (string $name) use (&$id) {
            return new self(++$id, $name);
        }, self::NAMES);
    }

    public function getAuthIdentifierName(): string
    {
        return 'id';
    }

    public function getAuthIdentifier(): int|string
    {
        return $this->id;
    }

    public function getAuthPasswordName(): string
    {
        return 'password';
    }

    public function getAuthPassword(): string
    {
        return '';
    }

    public function getRememberToken(): string
    {
        return '';
    }

    public function setRememberToken($value): void {}

    public function getRememberTokenName(): string
    {
        return '';
    }
}
