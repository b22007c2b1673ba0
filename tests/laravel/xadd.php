<?php

// php xadd.php PAYLOAD...: adds each payload to the ingest stream, as docs/laravel.md does.

require __DIR__.'/bootstrap.php';

use Illuminate\Support\Facades\Redis;

foreach (array_slice($argv, 1) as $payload) {
    Redis::xadd('yamabiko:in', '*', ['payload' => $payload]);
}
