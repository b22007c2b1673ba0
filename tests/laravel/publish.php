<?php

// php publish.php CHANNEL DATA [SENDER]: what an application does to speak on a channel. DATA and SENDER are JSON; they
// become PHP arrays first, so that what is published is PHP's JSON: \u escapes, \/ and [] for an empty object.

require __DIR__.'/bootstrap.php';

use Illuminate\Support\Facades\Redis;

[, $channel, $data] = $argv;
$message = ['channel' => $channel, 'data' => json_decode($data, true, 512, JSON_THROW_ON_ERROR)];
if (isset($argv[3])) {
    $message['sender'] = json_decode($argv[3], true, 512, JSON_THROW_ON_ERROR);
}
echo Redis::publish('broadcast', json_encode($message, JSON_THROW_ON_ERROR));
