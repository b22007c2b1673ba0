<?php

// Decides about each message on a kind of channel with a gate. In Laravel, the same lines make a controller.

$body = file_get_contents('php://input');
$timestamp = $_SERVER['HTTP_YAMABIKO_TIMESTAMP'] ?? '';
$signature = hash_hmac('sha256', $timestamp.'.'.$body, getenv('YAMABIKO_EVENTS_SECRET'));
if (abs(time() - (int) $timestamp) > 300 || ! hash_equals($signature, $_SERVER['HTTP_YAMABIKO_SIGNATURE'] ?? '')) {
    http_response_code(401);
    exit;
}

$message = json_decode($body, flags: JSON_THROW_ON_ERROR);
$text = $message->data->message ?? '';
if (str_contains($text, 'http')) {
    $answer = ['decision' => 'refuse', 'message' => 'Links are not allowed here, '.$message->sender->name.'.'];
} elseif (str_contains($text, 'darn')) {
    $message->data->message = str_replace('darn', '****', $text);
    $answer = ['decision' => 'rewrite', 'data' => $message->data];
} else {
    $answer = ['decision' => 'allow'];
}
header('Content-Type: application/json');
echo json_encode($answer, JSON_UNESCAPED_UNICODE);
