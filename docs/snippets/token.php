<?php
// composer require firebase/php-jwt

use Firebase\JWT\JWT;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Route;

// Decide here who may join which channel. The server trusts the token.
Route::middleware('auth')->get('/websocket/token', function (Request $request) {
    $now = time();

    $token = JWT::encode([
        'id' => $request->user()->id, // an integer, or a string such as a UUID
        'name' => $request->user()->name,
        'channel' => 'chat:default',
        'iat' => $now,
        'exp' => $now + 3600,
    ], config('services.yamabiko.secret'), 'HS256'); // the server's auth.secret, at least 32 bytes

    // wss://ws.example.com/ws; an https page may not connect to ws://
    return ['url' => config('services.yamabiko.url'), 'token' => $token];
});
