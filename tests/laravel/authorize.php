<?php

// php authorize.php USER SOCKET CHANNEL: what /broadcasting/auth answers to this user. USER is JSON, as {"id":7,"name":"Aoi"}.
// An empty SOCKET is none: so laravel-echo-server asks for its pages.

require __DIR__.'/application.php';

use Illuminate\Http\Request;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;

[, $user, $socket, $channel] = $argv;
$user = new class(json_decode($user, true, 512, JSON_THROW_ON_ERROR)) {
    public function __construct(public array $attributes) {}

    public function getAuthIdentifier(): int
    {
        return $this->attributes['id'];
    }
};

// routes/channels.php
$manager->channel('Chat.{room}', fn ($user, string $room) => true);
$manager->channel('Room.{room}', fn ($user, string $room) => $user->attributes);
$manager->channel('TestChannel.{id}', fn ($user, string $id) => (int) $id === $user->getAuthIdentifier());

$request = Request::create('/broadcasting/auth', 'POST', array_filter(['socket_id' => $socket, 'channel_name' => $channel]));
$request->setUserResolver(fn () => $user);
try {
    $answer = $manager->auth($request);
    // Laravel sends a text as it is, and anything else as JSON.
    echo is_string($answer) ? $answer : json_encode($answer, JSON_THROW_ON_ERROR);
} catch (AccessDeniedHttpException) {
    exit(3);
}
