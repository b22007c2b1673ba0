<?php
// Instead of Redis::publish: also what is added while no Yamabiko node is running is delivered later.

use Illuminate\Support\Facades\Redis;

Redis::xadd('yamabiko:in', '*', ['payload' => json_encode([
    'channel' => 'chat:default',
    'data' => ['name' => 'Laravel', 'message' => 'Hello from the application'],
], JSON_THROW_ON_ERROR)]);
