<?php

namespace App\Broadcasting;

use Illuminate\Broadcasting\Broadcasters\RedisBroadcaster;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;

/**
 * Laravel's redis broadcaster, extended with the signatures that Echo's channels need. Events go through Redis, without an
 * SDK or HTTP calls.
 */
class YamabikoBroadcaster extends RedisBroadcaster
{
    public function __construct($redis, $connection, $prefix, private string $key, private string $secret)
    {
        parent::__construct($redis, $connection, $prefix);
    }

    public function validAuthenticationResponse($request, $result)
    {
        // laravel-echo-server sends no socket_id and gets the old answer, so that pages can move one by one.
        if (! $request->has('socket_id')) {
            return parent::validAuthenticationResponse($request, $result);
        }
        [$socket, $channel] = [(string) $request->socket_id, (string) $request->channel_name];
        // The signed parts are joined by colons, so none of them may contain one.
        if (! preg_match('/\A\d+\.\d+\z/', $socket) || ! preg_match('/\A[-\w=@,.;]+\z/', $channel)) {
            throw new AccessDeniedHttpException;
        }
        $answer = [];
        $signed = "{$socket}:{$channel}";
        if (str_starts_with($channel, 'presence-')) {
            $user = $this->retrieveUser($request, $this->normalizeChannelName($channel));
            $answer['channel_data'] = json_encode([
                'user_id' => method_exists($user, 'getAuthIdentifierForBroadcasting')
                    ? $user->getAuthIdentifierForBroadcasting()
                    : $user->getAuthIdentifier(),
                'user_info' => $result,
            ], JSON_THROW_ON_ERROR);
            $signed .= ":{$answer['channel_data']}";
        }
        $answer['auth'] = $this->key.':'.hash_hmac('sha256', $signed, $this->secret);

        return $answer;
    }
}
