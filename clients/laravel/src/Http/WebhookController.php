<?php

namespace Yamabiko\Laravel\Http;

use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Http\Request;
use Illuminate\Http\Response;
use Symfony\Component\HttpKernel\Exception\UnprocessableEntityHttpException;
use UnexpectedValueException;
use Yamabiko\Laravel\Events\EventDecoder;

/** Dispatches the events of a webhook. If a listener fails, the server repeats the request. */
final class WebhookController
{
    public function __invoke(Request $request, Dispatcher $events): Response
    {
        try {
            $received = EventDecoder::webhook($request->getContent());
        } catch (UnexpectedValueException $error) {
            throw new UnprocessableEntityHttpException($error->getMessage(), $error);
        }
        foreach ($received as $event) {
            $events->dispatch($event);
        }

        return new Response('', 204);
    }
}
