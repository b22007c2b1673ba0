<?php

namespace Yamabiko\Laravel\Tokens;

use Illuminate\Broadcasting\Broadcasters\Broadcaster;
use Illuminate\Http\Request;
use LogicException;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;

/**
 * Who gets a token for which native channel. The rules are Laravel's own of routes/channels.php, with model binding, channel
 * classes and guards.
 */
final class ChannelRules extends Broadcaster
{
    /** @throws AccessDeniedHttpException if no rule admits the user */
    public function check(Request $request, string $channel): mixed
    {
        $user = $this->retrieveUser($request, $channel) ?? throw new AccessDeniedHttpException;
        $this->verifyUserCanAccessChannel($request, $channel);

        return $user;
    }

    public function auth($request)
    {
        $channel = $request->input('channel');

        return $this->check($request, is_string($channel) ? $channel : '');
    }

    public function validAuthenticationResponse($request, $result)
    {
        return $result;
    }

    /**
     * @param  array<mixed>  $channels
     * @param  array<mixed>  $payload
     */
    public function broadcast(array $channels, $event, array $payload = [])
    {
        throw new LogicException('Rules of native channels do not broadcast.');
    }

    /** Laravel's own matching differs between its versions, and is made for names without commas, colons and slashes. */
    protected function channelNameMatchesPattern($channel, $pattern)
    {
        return preg_match(self::expression($pattern), $channel) === 1;
    }

    /** @return array<array-key, string> */
    protected function extractChannelKeys($pattern, $channel)
    {
        preg_match(self::expression($pattern), $channel, $keys);

        return $keys;
    }

    /** A parameter is anything up to the next comma, which separates parameters: `board:{board},{card}`. */
    private static function expression(string $pattern): string
    {
        $parts = preg_split('/(\{\w+\})/', $pattern, -1, PREG_SPLIT_DELIM_CAPTURE) ?: [];

        return '~\A'.implode('', array_map(
            fn (string $part, int $index) => $index % 2 === 1 ? '(?<'.trim($part, '{}').'>[^,]+)' : preg_quote($part, '~'),
            $parts,
            array_keys($parts),
        )).'\z~u';
    }
}
