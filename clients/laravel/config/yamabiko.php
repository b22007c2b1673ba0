<?php

return [

    /*
     * How the application publishes: "redis" (PUBLISH), "stream" (durable: an entry of the stream that the server
     * reads, delivered even if it is added while no node is running), or "http" (the server's HTTP API, without Redis).
     * The server reads the stream only if some channel has a history: without one, "stream" delivers nothing.
     */
    'via' => env('YAMABIKO_VIA', 'redis'),

    'redis' => [
        'connection' => env('YAMABIKO_REDIS_CONNECTION', 'default'),
    ],

    /*
     * The server's HTTP API. The operators' port needs no key on a loopback address. Elsewhere, and on the public port
     * (api.public_path), use a key with the scopes "publish", "disconnect", "revoke" and "reload", and "read" for
     * the card of Laravel Pulse.
     */
    'http' => [
        'url' => env('YAMABIKO_API_URL', 'http://127.0.0.1:8081'),
        'key' => env('YAMABIKO_API_KEY'),
        'timeout' => 5,
    ],

    /*
     * Tokens for native channels. The server reads the secret from the same variables. Pages connect to `url`:
     * wss://… behind a proxy with TLS.
     */
    'tokens' => [
        'url' => env('APP_WS_URL', 'ws://localhost:8080/ws'),
        'secret' => env('YAMABIKO__AUTH__SECRET', env('APP_WS_JWT_SECRET')),
        'algorithm' => env('YAMABIKO_TOKEN_ALGORITHM', 'HS256'),
        'kid' => env('YAMABIKO_TOKEN_KID'),
        'ttl' => env('YAMABIKO_TOKEN_TTL', 3600), // seconds
    ],

    /*
     * What the server tells the application: webhooks, gates and the event stream. The secret signs requests, and the
     * server reads it from the same variable.
     */
    'events' => [
        'secret' => env('YAMABIKO__EVENTS__SECRET'),
        'tolerance' => 300, // seconds that the time of a request may differ from the clock
    ],

    /*
     * The app of Laravel Echo, for the broadcast connection "yamabiko". With several apps, the server gives what is
     * broadcast over Redis to the first one.
     */
    'app' => [
        'id' => env('PUSHER_APP_ID', env('REVERB_APP_ID')),
        'key' => env('PUSHER_APP_KEY', env('REVERB_APP_KEY')),
        'secret' => env('PUSHER_APP_SECRET', env('REVERB_APP_SECRET')),
    ],

    /*
     * The server that yamabiko:start runs. Without `binary`, it is vendor/bin/yamabiko, the one in PATH, or the release of
     * this version, downloaded from `releases` to storage/app/yamabiko: the address of the folder that has SHA256SUMS, with
     * {version} in it, such as https://github.com/OWNER/REPOSITORY/releases/download/v{version}.
     */
    'server' => [
        'binary' => env('YAMABIKO_BINARY'),
        'version' => '0.1.0',
        'releases' => env('YAMABIKO_RELEASES_URL'),
        'sha256' => env('YAMABIKO_SHA256'), // of the archive: compared in addition to SHA256SUMS
        'config' => env('YAMABIKO_CONFIG'), // a TOML file with settings, relative to the application
    ],

];
