<?php

// One server and one app, as bench/run names them in the environment. What is not here is as Reverb has it; it has no
// limit on connections and none on client events unless it is told one.

return [
    'default' => 'reverb',
    'servers' => [
        'reverb' => [
            'host' => '127.0.0.1',
            'port' => env('REVERB_SERVER_PORT'),
            'hostname' => '127.0.0.1',
            'path' => '',
            'options' => ['tls' => []],
            'max_request_size' => 100_000,
            'scaling' => ['enabled' => false],
            'pulse_ingest_interval' => 15,
            'telescope_ingest_interval' => 15,
        ],
    ],
    'apps' => [
        'provider' => 'config',
        'apps' => [
            [
                'app_id' => env('PUSHER_APP_ID'),
                'key' => env('PUSHER_APP_KEY'),
                'secret' => env('PUSHER_APP_SECRET'),
                'allowed_origins' => ['*'],
                'ping_interval' => 60,
                'activity_timeout' => 30,
                'max_message_size' => 100_000,
                'accept_client_events_from' => 'members',
            ],
        ],
    ],
];
