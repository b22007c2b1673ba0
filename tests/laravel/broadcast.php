<?php

// php broadcast.php EVENT CHANNELS DATA [SOCKET]: `broadcast(new EVENT(…))->toOthers()` in a request of the tab SOCKET, through
// the connection of $BROADCAST_CONNECTION. All of it is Laravel's own: the pending broadcast of the helper, the event
// dispatcher, the job, the channels' prefixes, the redis broadcaster. CHANNELS is
// {"private":["Chat.1"],"presence":[…],"public":[…]}, DATA the named arguments of the event; both are JSON.

namespace App\Events {
    require __DIR__.'/application.php';

    use Illuminate\Broadcasting\Channel;
    use Illuminate\Broadcasting\InteractsWithSockets;
    use Illuminate\Broadcasting\PresenceChannel;
    use Illuminate\Broadcasting\PrivateChannel;
    use Illuminate\Contracts\Broadcasting\ShouldBroadcastNow;

    abstract class OnChannels implements ShouldBroadcastNow
    {
        use InteractsWithSockets;

        protected array $channels;

        public function on(array $channels): static
        {
            $this->channels = $channels;

            return $this;
        }

        public function broadcastOn(): array
        {
            return [
                ...array_map(fn ($name) => new PrivateChannel($name), $this->channels['private'] ?? []),
                ...array_map(fn ($name) => new PresenceChannel($name), $this->channels['presence'] ?? []),
                ...array_map(fn ($name) => new Channel($name), $this->channels['public'] ?? []),
            ];
        }
    }

    class ChatMessageSent extends OnChannels
    {
        public function __construct(public string $message, public array $user) {}
    }

    class MessageSent extends OnChannels
    {
        public function __construct(public string $message, public int $id) {}
    }
}

namespace {
    use Illuminate\Http\Request;

    [, $event, $channels, $data] = $argv;
    $read = fn (string $json) => json_decode($json, true, 512, JSON_THROW_ON_ERROR);
    $app->instance('request', Request::create('/', 'POST', server: isset($argv[4]) ? ['HTTP_X_SOCKET_ID' => $argv[4]] : []));

    $class = "App\\Events\\{$event}";
    $manager->event((new $class(...$read($data)))->on($read($channels)))->toOthers();
}
