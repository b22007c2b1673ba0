<?php

namespace App\Listeners;

use Yamabiko\Laravel\Events\MessageReceived;

/** Stores what is said, each message once: an event may come twice. */
class StoreMessage
{
    public function handle(MessageReceived $event): void
    {
        $folder = self::folder();
        is_dir($folder) || mkdir($folder, 0o755, true);
        file_put_contents("{$folder}/{$event->eventId}", json_encode([
            'time' => $event->time,
            'name' => $event->sender->name,
            'message' => $event->data['message'] ?? '',
        ]));
    }

    /** @return list<array{time: int, name: string, message: string}> the oldest first */
    public static function messages(): array
    {
        $messages = array_map(fn (string $file) => json_decode((string) file_get_contents($file), true), glob(self::folder().'/*') ?: []);
        usort($messages, fn (array $a, array $b) => $a['time'] <=> $b['time']);

        return $messages;
    }

    private static function folder(): string
    {
        return app()->storagePath('messages');
    }
}
