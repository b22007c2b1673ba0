<?php

namespace Yamabiko\Laravel\Broadcasting;

use Illuminate\Broadcasting\Broadcasters\RedisBroadcaster;
use Illuminate\Broadcasting\BroadcastException;
use Illuminate\Broadcasting\Channel;
use Illuminate\Contracts\Auth\Authenticatable;
use Illuminate\Contracts\Redis\Factory as Redis;
use Illuminate\Http\Request;
use Illuminate\Support\Arr;
use SensitiveParameter;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;
use Yamabiko\Laravel\Publishing\EventPublisher;
use Yamabiko\Laravel\Publishing\PublishException;

/**
 * Laravel's redis broadcaster, extended with the signatures that Echo's channels need. Events go through Redis, without an
 * SDK or HTTP calls, unless another publisher is given.
 */
class YamabikoBroadcaster extends RedisBroadcaster
{
    public function __construct(
        Redis $redis,
        ?string $connection,
        string $prefix,
        private readonly ?string $key,
        #[SensitiveParameter]
        private readonly ?string $secret,
        private readonly ?EventPublisher $publisher = null,
    ) {
        parent::__construct($redis, $connection, $prefix);
    }

    public function validAuthenticationResponse($request, $result)
    {
        // laravel-echo-server sends no socket_id and gets the answer of the redis broadcaster, so that pages can move one by one.
        if (! $request->has('socket_id')) {
            return parent::validAuthenticationResponse($request, $result);
        }
        [$socket, $channel] = [$this->socket($request), $request->input('channel_name')];
        // The signed parts are joined by colons, so none of them may contain one.
        if (! is_string($channel) || preg_match('/\A[-\w=@,.;]+\z/', $channel) !== 1) {
            throw new AccessDeniedHttpException;
        }
        if (! str_starts_with($channel, 'presence-')) {
            return ['auth' => $this->sign("{$socket}:{$channel}")];
        }
        $user = $this->retrieveUser($request, $this->normalizeChannelName($channel));
        $data = json_encode([
            'user_id' => self::identifier($user),
            'user_info' => $result,
        ], JSON_THROW_ON_ERROR);

        return ['auth' => $this->sign("{$socket}:{$channel}:{$data}"), 'channel_data' => $data];
    }

    /**
     * Signs the user of Broadcast::resolveAuthenticatedUserUsing() in.
     *
     * @param  Request  $request
     * @return array<string, mixed>|null
     */
    public function resolveAuthenticatedUser($request)
    {
        $user = parent::resolveAuthenticatedUser($request);
        if (! $user) {
            return null;
        }
        $data = json_encode($user, JSON_THROW_ON_ERROR);

        return ['auth' => $this->sign("{$this->socket($request)}::user::{$data}"), 'user_data' => $data];
    }

    /**
     * @param  array<Channel|string>  $channels
     * @param  array<mixed>  $payload
     */
    public function broadcast(array $channels, $event, array $payload = [])
    {
        $names = array_values(array_map('strval', $channels));
        foreach ($names as $channel) {
            if (str_starts_with($channel, 'private-encrypted-')) {
                throw new BroadcastException("The yamabiko broadcaster does not encrypt: use the pusher broadcaster for {$channel}.");
            }
        }
        if ($this->publisher === null) {
            parent::broadcast($channels, $event, $payload);

            return;
        }
        $socket = Arr::pull($payload, 'socket');
        try {
            $this->publisher->broadcast(
                $names,
                $event,
                $payload,
                is_string($socket) && self::isSocket($socket) ? $socket : null,
            );
        } catch (PublishException $error) {
            throw new BroadcastException($error->getMessage(), 0, $error);
        }
    }

    private static function identifier(mixed $user): mixed
    {
        return match (true) {
            is_object($user) && method_exists($user, 'getAuthIdentifierForBroadcasting') => $user->getAuthIdentifierForBroadcasting(),
            $user instanceof Authenticatable => $user->getAuthIdentifier(),
            default => throw new AccessDeniedHttpException,
        };
    }

    /** @param  Request  $request */
    private function socket($request): string
    {
        $socket = $request->input('socket_id');
        if (! is_string($socket) || ! self::isSocket($socket)) {
            throw new AccessDeniedHttpException;
        }

        return $socket;
    }

    private static function isSocket(string $socket): bool
    {
        return preg_match('/\A\d+\.\d+\z/', $socket) === 1;
    }

    private function sign(string $text): string
    {
        if ($this->key === null || $this->secret === null) {
            throw new BroadcastException('Channels cannot be signed: set PUSHER_APP_KEY and PUSHER_APP_SECRET in .env.');
        }

        return $this->key.':'.hash_hmac('sha256', $text, $this->secret);
    }
}
