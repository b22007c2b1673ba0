<?php

namespace App\Broadcasting;

use Illuminate\Broadcasting\Broadcasters\RedisBroadcaster;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;

/**
 * Laravel's redis broadcaster, which Echo's channels are signed by as well: events go through Redis, with no SDK and no
 * HTTP call.
 */
class YamabikoBroadcaster extends RedisBroadcaster
{
    public function __construct($redis, $connection, $prefix, private string $key, private string $secret)
    {
        parent::__construct($redis, $connection, $prefix);
    }

    public function validAuthenticationResponse($request, $result)
    {
        // laravel-echo-server asks without a socket, and is answered as before: pages can move one by one.
        if (! $request->has('socket_id')) {
            return parent::validAuthenticationResponse($request, $result);
        }
        [$socket, $channel] = [(string) $request->socket_id, (string) $request->channel_name];
        // What is signed is joined by colons: nothing that has one may get in.
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
