<?php

namespace Yamabiko\Laravel\Users;

use Closure;
use Illuminate\Contracts\Auth\Authenticatable;
use InvalidArgumentException;

/** Turns the application's users into what the server knows of them. */
final class UserResolver
{
    /** @var (Closure(mixed): array{id: int|string, name: string})|null */
    private ?Closure $callback = null;

    /** @param  (callable(mixed): array{id: int|string, name: string})|null  $callback */
    public function using(?callable $callback): void
    {
        $this->callback = $callback === null ? null : Closure::fromCallable($callback);
    }

    public function user(mixed $user, ?string $name = null): User
    {
        if ($user instanceof User) {
            return $user;
        }
        if ($this->callback !== null && is_object($user)) {
            $known = ($this->callback)($user);

            return new User(User::checkId($known['id']), $name ?? $known['name']);
        }
        $name ??= is_object($user) ? ($user->name ?? null) : null;
        if (! is_string($name)) {
            throw new InvalidArgumentException('The user has no name: pass one, or set Yamabiko::identifyUsing().');
        }

        return new User($this->id($user), $name);
    }

    /** The ID of a user who is to receive a message: the server takes 0 for everyone, and a missing user must not become everyone. */
    public function target(mixed $user): int|string
    {
        $id = $this->id($user);

        return is_string($id) || $id > 0 ? $id : throw new InvalidArgumentException('The ID of a receiver must be positive.');
    }

    public function id(mixed $user): int|string
    {
        return User::checkId(match (true) {
            $user instanceof User => $user->id,
            ! is_object($user) => $user,
            $this->callback !== null => ($this->callback)($user)['id'],
            $user instanceof Authenticatable => $user->getAuthIdentifier(),
            default => $user->id ?? null,
        });
    }
}
