<?php
// From a controller, a job or an event listener: everybody on chat:default receives it.

use Illuminate\Support\Facades\Redis;

Redis::publish('broadcast', json_encode([
    'channel' => 'chat:default',
    'data' => [
        'name' => 'Laravel',
        'message' => 'Hello from the application',
        // 'target_user_id' => 7,                      // only to the connections of this user
    ],
    // 'sender' => ['name' => 'Aoi', 'id' => 7],       // speak for a user instead of as System
], JSON_THROW_ON_ERROR));
