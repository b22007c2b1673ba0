<?php
// A worker that reads the event stream, such as the handle() of an Artisan command. store() is yours.

use Illuminate\Support\Facades\Redis;

Redis::xgroup('CREATE', 'yamabiko:events', 'app', '0', true);
$from = '0'; // First what an earlier run has read and not acknowledged, then what is new.
while (true) {
    $streams = Redis::xreadgroup('app', 'worker', ['yamabiko:events' => $from], 100, 5000) ?: [];
    $entries = reset($streams) ?: [];
    foreach ($entries as $id => $entry) {
        store(json_decode($entry['payload'], flags: JSON_THROW_ON_ERROR)); // An event may come twice: its event_id is the same.
        Redis::xack('yamabiko:events', 'app', [$id]);
    }
    if ($entries === []) {
        $from = '>';
    }
}
