<?php

// php publish_raw.php PAYLOAD...: publishes each payload as it is.

require __DIR__.'/bootstrap.php';

use Illuminate\Support\Facades\Redis;

foreach (array_slice($argv, 1) as $payload) {
    Redis::publish('broadcast', $payload);
}
