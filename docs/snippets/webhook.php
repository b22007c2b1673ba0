<?php

// Receives the events of native channels. In Laravel, the same lines make a controller.

$body = file_get_contents('php://input');
$timestamp = $_SERVER['HTTP_YAMABIKO_TIMESTAMP'] ?? '';
$signature = hash_hmac('sha256', $timestamp.'.'.$body, getenv('YAMABIKO_EVENTS_SECRET'));
if (abs(time() - (int) $timestamp) > 300 || ! hash_equals($signature, $_SERVER['HTTP_YAMABIKO_SIGNATURE'] ?? '')) {
    http_response_code(401);
    exit;
}

foreach (json_decode($body, flags: JSON_THROW_ON_ERROR)->events as $event) {
    // An event may come twice: its event_id is the same.
    file_put_contents(getenv('EVENTS_FILE'), json_encode($event)."\n", FILE_APPEND | LOCK_EX);
}
