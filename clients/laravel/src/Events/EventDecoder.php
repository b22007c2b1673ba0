<?php

namespace Yamabiko\Laravel\Events;

use JsonException;
use UnexpectedValueException;
use Yamabiko\Laravel\Users\User;

/** Reads the events of webhooks and of the event stream. */
final class EventDecoder
{
    /**
     * @return list<ServerEvent> the events of the body of a webhook
     *
     * @throws UnexpectedValueException
     */
    public static function webhook(string $body): array
    {
        $events = self::json($body)['events'] ?? null;
        if (! is_array($events)) {
            throw new UnexpectedValueException('The body has no events.');
        }

        return array_values(array_map(
            fn (mixed $event) => self::event(is_array($event) ? $event : throw new UnexpectedValueException('An event is not an object.')),
            $events,
        ));
    }

    /** @throws UnexpectedValueException */
    public static function entry(string $payload): ServerEvent
    {
        return self::event(self::json($payload));
    }

    /** @param  array<array-key, mixed>  $event */
    private static function event(array $event): ServerEvent
    {
        $head = [self::text($event, 'event_id'), self::number($event, 'time_ms'), self::text($event, 'channel')];
        $kind = self::text($event, 'event');

        return match ($kind) {
            'connected' => new ClientConnected(...$head, connection: self::text($event, 'connection'), user: self::user($event, 'user')),
            'disconnected' => new ClientDisconnected(
                ...$head,
                connection: self::text($event, 'connection'),
                user: self::user($event, 'user'),
                reason: self::text($event, 'reason'),
                code: isset($event['code']) ? self::number($event, 'code') : null,
            ),
            'message' => new MessageReceived(
                ...$head,
                sender: self::user($event, 'sender'),
                data: self::object($event, 'data'),
                position: isset($event['id']) ? self::text($event, 'id') : null,
            ),
            'channel_occupied' => new ChannelOccupied(...$head),
            'channel_vacated' => new ChannelVacated(...$head),
            'user_online' => new UserOnline(...$head, userId: self::id(self::object($event, 'user'))),
            'user_offline' => new UserOffline(...$head, userId: self::id(self::object($event, 'user'))),
            default => new UnknownEvent(...$head, event: $kind, payload: $event),
        };
    }

    /** @return array<array-key, mixed> */
    private static function json(string $text): array
    {
        try {
            $value = json_decode($text, true, 512, JSON_THROW_ON_ERROR | JSON_BIGINT_AS_STRING);
        } catch (JsonException $error) {
            throw new UnexpectedValueException('Not JSON: '.$error->getMessage(), 0, $error);
        }

        return is_array($value) ? $value : throw new UnexpectedValueException('Not a JSON object.');
    }

    /** @param  array<array-key, mixed>  $event */
    private static function user(array $event, string $key): User
    {
        $user = self::object($event, $key);

        return new User(self::id($user), self::text($user, 'name'));
    }

    /** @param  array<array-key, mixed>  $user */
    private static function id(array $user): int|string
    {
        $id = $user['id'] ?? null;

        return is_int($id) || is_string($id) ? $id : throw new UnexpectedValueException('A user has no ID.');
    }

    /** @param  array<array-key, mixed>  $event */
    private static function text(array $event, string $key): string
    {
        $value = $event[$key] ?? null;

        return is_string($value) ? $value : throw new UnexpectedValueException("{$key} is not a string.");
    }

    /** @param  array<array-key, mixed>  $event */
    private static function number(array $event, string $key): int
    {
        $value = $event[$key] ?? null;

        return is_int($value) ? $value : throw new UnexpectedValueException("{$key} is not an integer.");
    }

    /**
     * @param  array<array-key, mixed>  $event
     * @return array<array-key, mixed>
     */
    private static function object(array $event, string $key): array
    {
        $value = $event[$key] ?? null;

        return is_array($value) ? $value : throw new UnexpectedValueException("{$key} is not an object.");
    }
}
