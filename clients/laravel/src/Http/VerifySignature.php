<?php

namespace Yamabiko\Laravel\Http;

use Closure;
use Illuminate\Http\Request;
use InvalidArgumentException;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpKernel\Exception\UnauthorizedHttpException;
use Yamabiko\Laravel\Settings;

/** Lets only requests of the server pass: signed with the secret of the events, at a time that is not long ago. */
final class VerifySignature
{
    /** The middleware of the group `web` that would refuse the server's requests, by its names in Laravel 10 to 13. */
    public const INSTEAD_OF = [
        'Illuminate\\Foundation\\Http\\Middleware\\VerifyCsrfToken',
        'Illuminate\\Foundation\\Http\\Middleware\\ValidateCsrfToken',
        'Illuminate\\Foundation\\Http\\Middleware\\PreventRequestForgery',
        'App\\Http\\Middleware\\VerifyCsrfToken',
    ];

    public function __construct(private readonly Settings $settings) {}

    /** @param  Closure(Request): Response  $next */
    public function handle(Request $request, Closure $next): Response
    {
        $secret = $this->settings->optionalText('events.secret')
            ?? throw new InvalidArgumentException('Requests of the server cannot be verified: set YAMABIKO__EVENTS__SECRET in .env.');
        $timestamp = (string) $request->headers->get('Yamabiko-Timestamp');
        $signature = hash_hmac('sha256', "{$timestamp}.{$request->getContent()}", $secret);
        if (
            preg_match('/\A\d{1,12}\z/', $timestamp) !== 1
            || abs(time() - (int) $timestamp) > $this->settings->number('events.tolerance')
            || ! hash_equals($signature, (string) $request->headers->get('Yamabiko-Signature'))
        ) {
            throw new UnauthorizedHttpException('Yamabiko-Signature', 'The signature or its time is invalid.');
        }

        return $next($request);
    }
}
