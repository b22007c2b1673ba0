<?php

namespace Yamabiko\Laravel;

use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Container\Container as App;
use Illuminate\Contracts\Config\Repository;
use Illuminate\Contracts\Container\Container;
use Illuminate\Contracts\Foundation\CachesConfiguration;
use Illuminate\Foundation\Console\AboutCommand;
use Illuminate\Foundation\DevCommands;
use Illuminate\Routing\Route;
use Illuminate\Routing\Router;
use Illuminate\Support\ServiceProvider;
use Laravel\Pulse\Livewire\Card;
use Livewire\LivewireManager;
use Yamabiko\Laravel\Broadcasting\BroadcasterFactory;
use Yamabiko\Laravel\Console\HealthCommand;
use Yamabiko\Laravel\Console\InstallCommand;
use Yamabiko\Laravel\Console\ReloadCommand;
use Yamabiko\Laravel\Console\StartCommand;
use Yamabiko\Laravel\Console\WorkCommand;
use Yamabiko\Laravel\Http\DemoController;
use Yamabiko\Laravel\Http\GateController;
use Yamabiko\Laravel\Http\TokenController;
use Yamabiko\Laravel\Http\VerifySignature;
use Yamabiko\Laravel\Http\WebhookController;
use Yamabiko\Laravel\Publishing\PublisherFactory;
use Yamabiko\Laravel\Pulse\NodesCard;
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
        $this->app->singleton(Settings::class, fn (Container $app) => new Settings($app->make(Repository::class)));
        $this->app->singleton(TokenIssuer::class, fn (Container $app) => self::tokens($app->make(Settings::class)));
        $this->app->singleton(Yamabiko::class, fn (Container $app) => new Yamabiko(
            fn (string $via) => $app->make(PublisherFactory::class)->make($via),
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
            // Laravel 13 binds the closure to the manager: it must not use this class.
            $manager->extend('yamabiko', fn (Container $app, array $config) => $app->make(BroadcasterFactory::class)->make($config));
        });
        $this->callAfterResolving('blade.compiler', ConnectionDirective::register(...));
        $this->loadViewsFrom(__DIR__.'/../resources/views', 'yamabiko');
        $this->addRoutes();
        $this->addCard();
        if ($this->app->runningInConsole()) {
            $this->commands([HealthCommand::class, InstallCommand::class, ReloadCommand::class, StartCommand::class, WorkCommand::class]);
            $this->joinLaravel();
        }
    }

    /** Commands of newer versions of Laravel that this package takes part in: `reload`, `dev` and `about`. */
    private function joinLaravel(): void
    {
        if (method_exists($this, 'reloads')) {
            $this->reloads('yamabiko:reload', 'yamabiko');
        }
        if (class_exists(DevCommands::class)) {
            DevCommands::artisan('yamabiko:start', 'yamabiko');
        }
        if (class_exists(AboutCommand::class)) {
            AboutCommand::add('Yamabiko', fn () => [
                'Publishes via' => $this->app->make(Settings::class)->text('via'),
                'Redis prefix' => $this->app->make(Settings::class)->redisPrefix(),
            ]);
        }
    }

    /** As mergeConfigFrom() does, but also inside of sections: a published file of an earlier version lacks keys. */
    private function mergeConfig(): void
    {
        $config = $this->app->make('config');
        if ($config instanceof Repository && ! ($this->app instanceof CachesConfiguration && $this->app->configurationIsCached())) {
            $published = $config->get('yamabiko', []);
            /** @var array<string, mixed> $defaults */
            $defaults = require __DIR__.'/../config/yamabiko.php';
            $config->set('yamabiko', array_replace_recursive($defaults, is_array($published) ? $published : []));
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

    /** The card for Laravel Pulse, where that is installed. */
    private function addCard(): void
    {
        if (class_exists(Card::class)) {
            $this->callAfterResolving('livewire', fn (LivewireManager $livewire) => $livewire->component('yamabiko.nodes', NodesCard::class));
        }
    }

    private function addRoutes(): void
    {
        Router::macro('yamabikoWebhook', function (string $uri = '/yamabiko/webhook'): Route {
            /** @var Router $this */
            $route = $this->post($uri, WebhookController::class)->withoutMiddleware(VerifySignature::INSTEAD_OF);
            $route->middleware(VerifySignature::class);

            return $route;
        });
        Router::macro('yamabikoGate', function (string $uri, string $gate): Route {
            /** @var Router $this */
            $route = $this->post($uri, GateController::class)->defaults('gate', $gate)->withoutMiddleware(VerifySignature::INSTEAD_OF);
            $route->middleware(VerifySignature::class);

            return $route;
        });
        Router::macro('yamabikoDemo', function (string $uri = '/yamabiko'): void {
            $app = App::getInstance()->make('app');
            if (is_object($app) && method_exists($app, 'environment') && $app->environment() === 'local') {
                /** @var Router $this */
                $this->get($uri, [DemoController::class, 'page']);
                $this->get("{$uri}/client.js", [DemoController::class, 'client']);
                $this->get("{$uri}/token", [DemoController::class, 'token']);
            }
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
}
