<?php

namespace Yamabiko\Laravel\Publishing;

use Illuminate\Http\Client\ConnectionException;
use Illuminate\Http\Client\Factory;
use Illuminate\Http\Client\Response;
use Illuminate\Support\Str;
use LogicException;
use Yamabiko\Laravel\Message;

/** Publishes over the server's HTTP API, without Redis. */
final class HttpPublisher implements EventPublisher, Publisher
{
    private const ATTEMPTS = 3;

    private const PAUSE_MICROSECONDS = 100_000;

    /** As many channels as the server accepts in one call. */
    private const CHANNELS_PER_CALL = 100;

    public function __construct(
        private readonly Factory $http,
        private readonly string $url,
        private readonly ?string $key,
        private readonly int $timeout,
        private readonly ?string $app,
    ) {}

    public function publish(Message $message): Receipt
    {
        if ($message->type !== null) {
            throw new LogicException('The HTTP API has no types of the application: use via("redis") or durably().');
        }
        $body = ['channel' => $message->channel, 'data' => (object) $message->data];
        if ($message->sender !== null) {
            $body['sender'] = $message->sender->toArray();
        }
        if ($message->to !== null) {
            $body['to'] = $message->to;
        }
        $answer = $this->once('publish', $body, $message->idempotencyKey);
        $position = $answer->json('position');
        $omitted = $answer->json('omitted');

        return new Receipt(
            position: is_string($position) ? $position : null,
            omitted: is_array($omitted) ? array_values(array_filter($omitted, 'is_string')) : [],
        );
    }

    public function broadcast(array $channels, string $event, array $data, ?string $socket): void
    {
        foreach (array_chunk($channels, self::CHANNELS_PER_CALL) as $chunk) {
            $body = ['app' => $this->app, 'channels' => $chunk, 'event' => $event, 'data' => (object) $data];
            $this->once('publish', $socket === null ? $body : $body + ['socket_id' => $socket], null);
        }
    }

    public function disconnectUser(int|string $user, ?string $channel): void
    {
        $this->post('disconnect', $channel === null ? ['user' => $user] : ['user' => $user, 'channel' => $channel]);
    }

    public function revoke(array $revocation): void
    {
        $this->post('revocations', $revocation);
    }

    /**
     * Repeats a call whose outcome is unknown. With its key, the server carries it out once.
     *
     * @param  array<string, mixed>  $body
     */
    private function once(string $route, array $body, ?string $key): Response
    {
        $body['idempotency_key'] = $key ?? (string) Str::uuid();
        for ($attempt = 1; ; $attempt++) {
            try {
                return $this->post($route, $body);
            } catch (PublishException $error) {
                if ($attempt === self::ATTEMPTS || ! in_array($error->problem, ['unavailable', 'unreachable'], true)) {
                    throw $error;
                }
                usleep(self::PAUSE_MICROSECONDS * $attempt);
            }
        }
    }

    /** @param  array<string, mixed>  $body */
    private function post(string $route, array $body): Response
    {
        $request = $this->http->timeout($this->timeout)->acceptJson()->withHeaders(Trace::current());
        $request->withBody(Json::encode($body), 'application/json');
        if ($this->key !== null && $this->key !== '') {
            $request->withToken($this->key);
        }
        $url = rtrim($this->url, '/')."/api/v1/{$route}";
        try {
            $answer = $request->post($url);
        } catch (ConnectionException $error) {
            throw new PublishException("The server cannot be reached at {$this->url}.", 'unreachable', $error);
        }
        if ($answer->successful()) {
            return $answer;
        }
        [$code, $detail] = [$answer->json('code'), $answer->json('detail')];
        throw new PublishException(
            "The server answered {$answer->status()}".(is_string($detail) ? ": {$detail}." : '.'),
            is_string($code) ? $code : null,
        );
    }
}
