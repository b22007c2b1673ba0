<?php
// In a controller, a job or an event listener. Everyone on chat:default receives it.

use Illuminate\Support\Facades\Redis;

Redis::publish('broadcast', json_encode([
    'channel' => 'chat:default',
    'data' => [
        'name' => 'Laravel',
        'message' => 'Hello from the application',
        // 'target_user_id' => 7,                      // only for the connections of this user
    ],
    // 'sender' => ['name' => 'Aoi', 'id' => 7],       // send as this user instead of as System
], JSON_THROW_ON_ERROR));
