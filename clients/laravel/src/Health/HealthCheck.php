<?php

namespace Yamabiko\Laravel\Health;

use Illuminate\Contracts\Redis\Factory as Redis;
use Illuminate\Http\Client\ConnectionException;
use Illuminate\Http\Client\Factory as Http;
use Illuminate\Routing\Route;
use Illuminate\Routing\Router;
use Throwable;
use Yamabiko\Laravel\Http\TokenController;
use Yamabiko\Laravel\Redis\RawRedis;
use Yamabiko\Laravel\Settings;

/** Finds what keeps messages from arriving. */
final class HealthCheck
{
    private const SECRET_BYTES = 32;

    public function __construct(
        private readonly Settings $settings,
        private readonly Redis $redis,
        private readonly Http $http,
        private readonly Router $router,
    ) {}

    /** @return list<string> what is wrong; empty if nothing is */
    public function problems(): array
    {
        $problems = [];
        $secret = $this->settings->optionalText('tokens.secret');
        if ($secret === null && $this->needsSecret()) {
            $problems[] = 'No secret for tokens: set APP_WS_JWT_SECRET in .env.';
        } elseif ($secret !== null && strlen($secret) < self::SECRET_BYTES) {
            $problems[] = 'The secret of the tokens has less than '.self::SECRET_BYTES.' bytes.';
        }

        return [...$problems, ...($this->settings->text('via') === 'http' ? $this->http() : $this->redis())];
    }

    /** An application that only has Laravel Echo, as one that comes from Reverb, signs no tokens. */
    private function needsSecret(): bool
    {
        $tokens = array_filter($this->router->getRoutes()->getRoutes(), fn (Route $route) => $route->getActionName() === TokenController::class);

        return $tokens !== [] || $this->settings->optionalText('app.key') === null;
    }

    /** @return list<string> */
    private function redis(): array
    {
        try {
            $redis = new RawRedis($this->redis->connection($this->settings->optionalText('redis.connection')));
            $topic = $redis->key('broadcast');
            $count = $redis->run('PUBSUB', 'NUMSUB', $topic);
            if (is_array($count) && is_numeric($count[1] ?? null) && $count[1] > 0) {
                return [];
            }
            $others = $redis->run('PUBSUB', 'CHANNELS', '*broadcast');
        } catch (Throwable $error) {
            return ["Redis cannot be reached: {$error->getMessage()}."];
        }
        $others = is_array($others) ? array_filter($others, 'is_string') : [];

        return [$others === []
            ? "No server is subscribed to {$topic}: start one with php artisan yamabiko:start."
            : "No server is subscribed to {$topic}, but to ".implode(', ', $others).': the Redis prefix of the server is another one.'];
    }

    /** @return list<string> */
    private function http(): array
    {
        $url = rtrim($this->settings->text('http.url'), '/');
        try {
            $status = $this->http->timeout($this->settings->number('http.timeout'))->get("{$url}/readyz")->status();
        } catch (ConnectionException) {
            return ["The server cannot be reached at {$url}."];
        }

        // The public port has no /readyz.
        return $status === 503 ? ['The server is not ready: see its log.'] : [];
    }
}
