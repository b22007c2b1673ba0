<?php

namespace App\Gates;

use Yamabiko\Laravel\Gate\Decision;
use Yamabiko\Laravel\Gate\Gate;
use Yamabiko\Laravel\Gate\Message;

class ChatGate implements Gate
{
    public function handles(Message $message): Decision
    {
        $text = (string) $message->get('message', '');
        if (str_contains($text, 'http')) {
            return Decision::refuse("Links are not allowed here, {$message->sender->name}.");
        }
        if (str_contains($text, 'darn')) {
            return Decision::rewrite($message->with('message', str_replace('darn', '****', $text)));
        }

        return Decision::allow();
    }
}
