<?php

namespace Yamabiko\Laravel;

use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Contracts\Config\Repository;
use Illuminate\Contracts\Container\Container;
use Illuminate\Contracts\Foundation\CachesConfiguration;
use Illuminate\Contracts\Redis\Factory as Redis;
use Illuminate\Http\Client\Factory as Http;
use Illuminate\Routing\Route;
use Illuminate\Routing\Router;
use Illuminate\Support\ServiceProvider;
use InvalidArgumentException;
use Yamabiko\Laravel\Broadcasting\YamabikoBroadcaster;
use Yamabiko\Laravel\Console\WorkCommand;
use Yamabiko\Laravel\Http\GateController;
use Yamabiko\Laravel\Http\TokenController;
use Yamabiko\Laravel\Http\VerifySignature;
use Yamabiko\Laravel\Http\WebhookController;
use Yamabiko\Laravel\Publishing\HttpPublisher;
use Yamabiko\Laravel\Publishing\Publisher;
use Yamabiko\Laravel\Publishing\RedisPublisher;
use Yamabiko\Laravel\Publishing\StreamPublisher;
use Yamabiko\Laravel\Tokens\ChannelRules;
use Yamabiko\Laravel\Tokens\TokenIssuer;
use Yamabiko\Laravel\Users\UserResolver;
use Yamabiko\Laravel\View\ConnectionDirective;

class YamabikoServiceProvider extends ServiceProvider
{
    public function register(): void
    {
        $this->mergeConfig();
        $this->addBroadcastConnection();

        $this->app->singleton(UserResolver::class);
        $this->app->singleton(ChannelRules::class);
        $this->app->singleton(Settings::class, fn (Container $app) => new Settings($app->make('config')));
        $this->app->singleton(TokenIssuer::class, fn (Container $app) => self::tokens($app->make(Settings::class)));
        $this->app->singleton(Yamabiko::class, fn (Container $app) => new Yamabiko(
            fn (string $via) => self::publisher($app, $via),
            $app->make(Settings::class)->text('via'),
            $app->make(Settings::class)->text('tokens.url'),
            $app->make(TokenIssuer::class),
            $app->make(ChannelRules::class),
            $app->make(UserResolver::class),
        ));
    }

    public function boot(): void
    {
        $this->callAfterResolving(BroadcastManager::class, function (BroadcastManager $manager): void {
            $manager->extend('yamabiko', fn (Container $app, array $config) => self::broadcaster($app, $config));
        });
        $this->callAfterResolving('blade.compiler', ConnectionDirective::register(...));
        self::addRoutes();
        if ($this->app->runningInConsole()) {
            $this->commands([WorkCommand::class]);
        }
    }

    /** As mergeConfigFrom() does, but also inside of sections: a published file of an earlier version lacks keys. */
    private function mergeConfig(): void
    {
        $config = $this->app->make('config');
        if ($config instanceof Repository && ! ($this->app instanceof CachesConfiguration && $this->app->configurationIsCached())) {
            $published = $config->get('yamabiko', []);
            $config->set('yamabiko', array_replace_recursive(require __DIR__.'/../config/yamabiko.php', is_array($published) ? $published : []));
        }
    }

    /** Lets BROADCAST_CONNECTION=yamabiko work with the config/broadcasting.php that Laravel ships. */
    private function addBroadcastConnection(): void
    {
        $config = $this->app->make('config');
        if ($config instanceof Repository && ! $config->has('broadcasting.connections.yamabiko')) {
            $config->set('broadcasting.connections.yamabiko', ['driver' => 'yamabiko']);
        }
    }

    private static function addRoutes(): void
    {
        Router::macro('yamabikoWebhook', function (string $uri = '/yamabiko/webhook'): Route {
            /** @var Router $this */
            return $this->post($uri, WebhookController::class)->middleware(VerifySignature::class)->withoutMiddleware(VerifySignature::INSTEAD_OF);
        });
        Router::macro('yamabikoGate', function (string $uri, string $gate): Route {
            /** @var Router $this */
            return $this->post($uri, GateController::class)->defaults('gate', $gate)
                ->middleware(VerifySignature::class)->withoutMiddleware(VerifySignature::INSTEAD_OF);
        });
        Router::macro('yamabikoToken', function (string $uri = '/websocket/token'): Route {
            /** @var Router $this */
            return $this->get($uri, TokenController::class);
        });
    }

    private static function tokens(Settings $settings): TokenIssuer
    {
        return new TokenIssuer(
            $settings->optionalText('tokens.secret'),
            $settings->text('tokens.algorithm'),
            $settings->optionalText('tokens.kid'),
            $settings->number('tokens.ttl'),
        );
    }

    private static function publisher(Container $app, string $via): Publisher
    {
        $settings = $app->make(Settings::class);
        $connection = $settings->optionalText('redis.connection');

        return match ($via) {
            'redis' => new RedisPublisher($app->make(Redis::class), $connection),
            'stream' => new StreamPublisher($app->make(Redis::class), $connection, $settings->optionalText('app.id')),
            'http' => new HttpPublisher(
                $app->make(Http::class),
                $settings->text('http.url'),
                $settings->optionalText('http.key'),
                $settings->number('http.timeout'),
                $settings->optionalText('app.id'),
            ),
            default => throw new InvalidArgumentException("yamabiko.via must be redis, stream or http, not {$via}."),
        };
    }

    /** @param  array<array-key, mixed>  $config  of the broadcast connection, whose `via`, `key` and `secret` precede those of config/yamabiko.php */
    private static function broadcaster(Container $app, array $config): YamabikoBroadcaster
    {
        $settings = $app->make(Settings::class);
        $text = fn (string $key, ?string $default): ?string => is_string($config[$key] ?? null) ? $config[$key] : $default;
        $publisher = self::publisher($app, (string) $text('via', $settings->text('via')));

        return new YamabikoBroadcaster(
            $app->make(Redis::class),
            $text('connection', $settings->optionalText('redis.connection')),
            $settings->redisPrefix(),
            $text('key', $settings->optionalText('app.key')),
            $text('secret', $settings->optionalText('app.secret')),
            $publisher instanceof Publishing\EventPublisher ? $publisher : null,
        );
    }
}
