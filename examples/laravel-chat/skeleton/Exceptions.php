<?php

namespace Skeleton;

use Illuminate\Auth\AuthenticationException;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Http\JsonResponse;
use Symfony\Component\HttpKernel\Exception\HttpExceptionInterface;
use Throwable;

/** Turns exceptions into responses, as the framework does for requests that accept JSON. */
final class Exceptions implements ExceptionHandler
{
    public function report(Throwable $e): void
    {
        if (! $this->shouldReport($e)) {
            return;
        }
        fwrite(fopen('php://stderr', 'w'), $e::class.": {$e->getMessage()} in {$e->getFile()}:{$e->getLine()}\n");
    }

    public function shouldReport(Throwable $e): bool
    {
        return ! $e instanceof HttpExceptionInterface && ! $e instanceof AuthenticationException;
    }

    public function render($request, Throwable $e): JsonResponse
    {
        if ($e instanceof HttpExceptionInterface) {
            return new JsonResponse(['message' => $e->getMessage()], $e->getStatusCode(), $e->getHeaders());
        }
        if ($e instanceof AuthenticationException) {
            return new JsonResponse(['message' => 'Unauthenticated.'], 401);
        }

        return new JsonResponse(['message' => 'Server Error'], 500);
    }

    public function renderForConsole($output, Throwable $e): void
    {
        $output->writeln("<error>{$e->getMessage()}</error>");
    }
}
