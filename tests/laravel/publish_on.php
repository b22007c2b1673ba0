<?php

// php publish_on.php CHANNEL PAYLOAD...: publishes each payload as it is, on a channel that gets the prefix.

require __DIR__.'/bootstrap.php';

use Illuminate\Support\Facades\Redis;

foreach (array_slice($argv, 2) as $payload) {
    Redis::publish($argv[1], $payload);
}
