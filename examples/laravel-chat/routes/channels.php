<?php

use App\Models\User;
use Illuminate\Support\Facades\Broadcast;
use Yamabiko\Laravel\Facades\Yamabiko;

// Native channels: who gets a token
Yamabiko::authorize('chat:{room}', fn (User $user, string $room) => true);
Yamabiko::authorize('tweet:', fn (User $user) => true);
Yamabiko::authorize('progress:{id}', fn (User $user, string $id) => $user->id === (int) $id);

// Laravel Echo
Broadcast::channel('Room.{room}', fn (User $user, string $room) => ['id' => $user->id, 'name' => $user->name]);
