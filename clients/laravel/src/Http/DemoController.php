<?php

namespace Yamabiko\Laravel\Http;

use Illuminate\Contracts\View\Factory;
use Illuminate\Contracts\View\View;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Symfony\Component\HttpFoundation\BinaryFileResponse;
use Symfony\Component\HttpFoundation\Cookie;
use Yamabiko\Laravel\Users\User;
use Yamabiko\Laravel\Yamabiko;

/** The chat of Route::yamabikoDemo(): with two browsers, one sees that everything works. */
final class DemoController
{
    private const CLIENT = __DIR__.'/../../resources/client.js';

    private const GUEST = 'yamabiko_guest';

    public function page(Request $request, Factory $views): View
    {
        $path = $request->getBaseUrl().'/'.trim($request->path(), '/');

        return $views->make('yamabiko::chat', ['client' => "{$path}/client.js", 'token' => "{$path}/token"]);
    }

    public function client(): BinaryFileResponse
    {
        return new BinaryFileResponse((string) realpath(self::CLIENT), 200, ['Content-Type' => 'text/javascript']);
    }

    /** Guests get a number, which their browser keeps. */
    public function token(Request $request, Yamabiko $yamabiko): JsonResponse
    {
        $guest = $request->cookie(self::GUEST);
        $guest = is_string($guest) && preg_match('/\A[1-9]\d{3}\z/', $guest) === 1 ? (int) $guest : random_int(1000, 9999);
        $user = $request->user() ?? new User($guest, "Guest {$guest}");
        $answer = new JsonResponse($yamabiko->connection($user, 'chat:default'), 200, ['Cache-Control' => 'no-store']);

        return $answer->withCookie(new Cookie(self::GUEST, (string) $guest));
    }
}
