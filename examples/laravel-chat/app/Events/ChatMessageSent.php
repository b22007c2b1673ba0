<?php

namespace App\Events;

use App\Models\User;
use Illuminate\Broadcasting\InteractsWithSockets;
use Illuminate\Broadcasting\PresenceChannel;
use Illuminate\Contracts\Broadcasting\ShouldBroadcastNow;

class ChatMessageSent implements ShouldBroadcastNow
{
    use InteractsWithSockets;

    /** @var array{id: int|string, name: string} */
    public array $user;

    public function __construct(private readonly string $room, public string $message, User $user)
    {
        $this->user = ['id' => $user->id, 'name' => $user->name];
    }

    public function broadcastOn(): PresenceChannel
    {
        return new PresenceChannel("Room.{$this->room}");
    }
}
