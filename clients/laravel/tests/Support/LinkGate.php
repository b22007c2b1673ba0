<?php

namespace Yamabiko\Laravel\Tests\Support;

use RuntimeException;
use Yamabiko\Laravel\Gate\Decision;
use Yamabiko\Laravel\Gate\Gate;
use Yamabiko\Laravel\Gate\Message;

final class LinkGate implements Gate
{
    public function handles(Message $message): Decision
    {
        $text = $message->get('message', '');

        return match (true) {
            str_contains($text, 'http') => Decision::refuse("No links on {$message->channel}, {$message->sender->name}."),
            str_contains($text, 'darn') => Decision::rewrite($message->with('message', str_replace('darn', '****', $text))),
            str_contains($text, 'bug') => throw new RuntimeException('a bug of the gate'),
            default => Decision::allow(),
        };
    }
}
