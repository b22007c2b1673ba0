<?php

namespace Yamabiko\Laravel\Http;

use Illuminate\Contracts\Container\Container;
use Illuminate\Http\Request;
use Illuminate\Http\Response;
use LogicException;
use Symfony\Component\HttpKernel\Exception\UnprocessableEntityHttpException;
use UnexpectedValueException;
use Yamabiko\Laravel\Gate\Gate;
use Yamabiko\Laravel\Gate\Message;
use Yamabiko\Laravel\Publishing\Json;

/** Asks the gate of the route about a message. */
final class GateController
{
    public function __invoke(Request $request, Container $app): Response
    {
        $class = $request->route('gate');
        $gate = is_string($class) ? $app->make($class) : null;
        if (! $gate instanceof Gate) {
            throw new LogicException('The gate of the route does not implement '.Gate::class.'.');
        }
        try {
            $message = Message::fromJson($request->getContent());
        } catch (UnexpectedValueException $error) {
            throw new UnprocessableEntityHttpException($error->getMessage(), $error);
        }

        return new Response(Json::encode($gate->handles($message)->toArray()), 200, ['Content-Type' => 'application/json']);
    }
}
