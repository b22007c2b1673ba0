<?php

// Receives the webhooks of an app, verified as Pusher's own SDK does it, and appends their events to a file.

$body = file_get_contents('php://input');
$signature = hash_hmac('sha256', $body, getenv('PUSHER_APP_SECRET'));
if (($_SERVER['HTTP_X_PUSHER_KEY'] ?? '') !== getenv('PUSHER_APP_KEY')
    || ! hash_equals($signature, $_SERVER['HTTP_X_PUSHER_SIGNATURE'] ?? '')) {
    http_response_code(401);
    exit;
}

foreach (json_decode($body)->events as $event) {
    file_put_contents(getenv('EVENTS_FILE'), json_encode($event)."\n", FILE_APPEND | LOCK_EX);
}
