<?php

use App\Events\ChatMessageSent;
use App\Gates\ChatGate;
use App\Jobs\SampleJob;
use App\Listeners\StoreMessage;
use App\Models\User;
use Illuminate\Http\RedirectResponse;
use Illuminate\Http\Request;
use Illuminate\Http\Response;
use Illuminate\Support\Facades\Broadcast;
use Illuminate\Support\Facades\Bus;
use Illuminate\Support\Facades\Route;
use Illuminate\Support\Facades\View;
use Symfony\Component\HttpFoundation\Cookie;
use Yamabiko\Laravel\Facades\Yamabiko;

Route::get('/', fn () => View::make('login', ['users' => User::all()]));
Route::get('/login/{user}', fn (string $user) => (new RedirectResponse('/chat'))->withCookie(new Cookie('user', $user)));

Route::middleware('auth')->group(function () {
    Route::yamabikoToken();

    Route::get('/chat', fn (Request $request) => View::make('chat', [
        'user' => $request->user(),
        'users' => User::all(),
        'messages' => StoreMessage::messages(),
    ]));
    Route::post('/announcements', function (Request $request) {
        Yamabiko::channel('chat:default')->send(['name' => 'Laravel', 'message' => $request->input('message')]);

        return new Response('', 204);
    });

    Route::get('/tweets', fn (Request $request) => View::make('tweets', ['user' => $request->user()]));
    Route::post('/tweets', function (Request $request) {
        $user = $request->user();
        Yamabiko::channel('tweet:')->as($user)->send(['tweet' => [
            'id' => random_int(1, 1_000_000),
            'content' => $request->input('content'),
            'created_at' => date(DATE_ATOM),
            'user' => ['id' => $user->id, 'name' => $user->name],
        ]]);

        return new Response('', 204);
    });

    Route::get('/progress', fn (Request $request) => View::make('progress', ['user' => $request->user()]));
    Route::post('/jobs', function (Request $request) {
        Bus::dispatchSync(new SampleJob($request->user()->id, 20));

        return new Response('', 204);
    });

    Route::get('/rooms/{room}', fn (Request $request, string $room) => View::make('room', ['user' => $request->user(), 'room' => $room]));
    Route::post('/rooms/{room}', function (Request $request, string $room) {
        Broadcast::event(new ChatMessageSent($room, (string) $request->input('message'), $request->user()))->toOthers();

        return new Response('', 204);
    });
});

// The chat with which yamabiko:install begins
Route::yamabikoDemo();

// What the server calls
Route::yamabikoWebhook();
Route::yamabikoGate('/yamabiko/gate', ChatGate::class);
