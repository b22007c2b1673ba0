<?php

namespace Yamabiko\Laravel\Http;

use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use InvalidArgumentException;
use Symfony\Component\HttpKernel\Exception\UnprocessableEntityHttpException;
use Yamabiko\Laravel\ChannelName;
use Yamabiko\Laravel\Yamabiko;

/** Answers `?channel=chat:default` with what the page needs to connect, if a rule of Yamabiko::authorize() admits the user. */
final class TokenController
{
    public function __invoke(Request $request, Yamabiko $yamabiko): JsonResponse
    {
        $channel = $request->query('channel');
        try {
            $channel = ChannelName::check(is_string($channel) ? $channel : '');
        } catch (InvalidArgumentException $error) {
            throw new UnprocessableEntityHttpException($error->getMessage(), $error);
        }
        $user = $yamabiko->rules()->check($request, $channel);

        return new JsonResponse($yamabiko->connection($user, $channel), 200, ['Cache-Control' => 'no-store']);
    }
}
