<?php

namespace Skeleton;

use Dotenv\Dotenv;
use Illuminate\Auth\AuthManager;
use Illuminate\Auth\Middleware\Authenticate;
use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Bus\Dispatcher as Jobs;
use Illuminate\Cache\CacheManager;
use Illuminate\Config\Repository;
use Illuminate\Console\Application as Artisan;
use Illuminate\Container\Container;
use Illuminate\Contracts\Auth\Factory as AuthFactory;
use Illuminate\Contracts\Broadcasting\Factory as BroadcastFactory;
use Illuminate\Contracts\Bus\Dispatcher as BusContract;
use Illuminate\Contracts\Config\Repository as ConfigContract;
use Illuminate\Contracts\Container\Container as ContainerContract;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Contracts\Events\Dispatcher as EventsContract;
use Illuminate\Contracts\Redis\Factory as RedisFactory;
use Illuminate\Contracts\Routing\BindingRegistrar;
use Illuminate\Contracts\View\Factory as ViewFactory;
use Illuminate\Events\Dispatcher as Events;
use Illuminate\Filesystem\Filesystem;
use Illuminate\Http\Request;
use Illuminate\Redis\RedisManager;
use Illuminate\Routing\Router;
use Illuminate\Support\Facades\Facade;
use Illuminate\Support\ServiceProvider;
use Illuminate\View\Compilers\BladeCompiler;
use Illuminate\View\Engines\CompilerEngine;
use Illuminate\View\Engines\EngineResolver;
use Illuminate\View\Factory as Views;
use Illuminate\View\FileViewFinder;
use Symfony\Component\HttpFoundation\Response;

/**
 * What laravel/framework does for an application, as far as this one needs it: Debian has packages of Laravel's
 * components, but not of the framework. Everything outside of this folder is as in any Laravel application.
 */
final class Application extends Container
{
    /** @var list<ServiceProvider> */
    private array $providers = [];

    /**
     * Boots the providers, and loads the routes.
     *
     * @param  list<class-string<ServiceProvider>>  $providers
     */
    public static function configure(string $basePath, array $providers): self
    {
        $app = new self($basePath);
        array_map($app->register(...), $providers);
        $app->boot();
        $app->make(BroadcastManager::class)->routes(['middleware' => ['auth']]);
        require $app->basePath('routes/channels.php');
        require $app->basePath('routes/web.php');

        return $app;
    }

    public function __construct(private readonly string $basePath)
    {
        static::setInstance($this);
        $this->instance('app', $this);
        $this->alias('app', Container::class);
        $this->alias('app', ContainerContract::class);
        Facade::clearResolvedInstances();
        Facade::setFacadeApplication($this);
        if (is_file($this->basePath('.env'))) {
            Dotenv::create(\Illuminate\Support\Env::getRepository(), $basePath)->load();
        }
        $this->bindComponents();
    }

    public function basePath(string $path = ''): string
    {
        return $this->basePath.($path === '' ? '' : "/{$path}");
    }

    public function bootstrapPath(string $path = ''): string
    {
        return $this->basePath("bootstrap/{$path}");
    }

    public function configPath(string $path = ''): string
    {
        return $this->basePath("config/{$path}");
    }

    public function resourcePath(string $path = ''): string
    {
        return $this->basePath("resources/{$path}");
    }

    public function storagePath(string $path = ''): string
    {
        return $this->basePath("storage/{$path}");
    }

    public function environment(): string
    {
        return 'local';
    }

    public function runningInConsole(): bool
    {
        return PHP_SAPI === 'cli';
    }

    public function runningUnitTests(): bool
    {
        return false;
    }

    public function version(): string
    {
        return '8.83';
    }

    /** @param  class-string<ServiceProvider>  $provider */
    public function register(string $provider): void
    {
        $provider = new $provider($this);
        if (method_exists($provider, 'register')) {
            $provider->register();
        }
        $this->providers[] = $provider;
    }

    public function boot(): void
    {
        foreach ($this->providers as $provider) {
            if (method_exists($provider, 'boot')) {
                $this->call([$provider, 'boot']);
            }
        }
    }

    public function handle(Request $request): Response
    {
        $request->setUserResolver(fn (?string $guard = null) => $this->make('auth')->guard($guard)->user());
        $this->instance('request', $request);
        Facade::clearResolvedInstance('request');
        try {
            return $this->make('router')->dispatch($request);
        } catch (\Throwable $error) {
            return $this->make(ExceptionHandler::class)->render($request, $error);
        }
    }

    public function artisan(): Artisan
    {
        $artisan = new Artisan($this, $this->make('events'), $this->version());
        $artisan->setName('Laravel components');

        return $artisan;
    }

    private function bindComponents(): void
    {
        $config = new Repository([
            'app' => ['name' => 'Laravel'],
            'auth' => ['defaults' => ['guard' => 'web'], 'guards' => ['web' => ['driver' => 'page']]],
            'broadcasting' => ['default' => env('BROADCAST_CONNECTION', 'null'), 'connections' => ['null' => ['driver' => 'null']]],
            'cache' => ['default' => 'file', 'prefix' => '', 'stores' => [
                'file' => ['driver' => 'file', 'path' => $this->storagePath('framework/cache')],
            ]],
            'database' => ['redis' => [
                'client' => 'phpredis',
                'options' => ['prefix' => env('REDIS_PREFIX', 'laravel_database_')],
                'default' => [
                    'host' => env('REDIS_HOST', '127.0.0.1'),
                    'port' => (int) env('REDIS_PORT', 6379),
                    'database' => 0,
                ],
            ]],
        ]);
        foreach (glob($this->configPath('*.php')) ?: [] as $file) {
            $config->set(basename($file, '.php'), require $file);
        }
        $this->instance('config', $config);
        $this->alias('config', ConfigContract::class);
        $this->singleton('events', fn () => new Events($this));
        $this->alias('events', EventsContract::class);
        $this->singleton('files', fn () => new Filesystem);
        $this->singleton('router', function () {
            $router = new Router($this->make('events'), $this);
            $router->aliasMiddleware('auth', Authenticate::class);

            return $router;
        });
        $this->alias('router', Router::class);
        $this->alias('router', BindingRegistrar::class);
        $this->alias('router', \Illuminate\Contracts\Routing\Registrar::class);
        $this->alias('request', Request::class);
        $this->singleton('cache', fn () => new CacheManager($this));
        $this->singleton('auth', fn () => new AuthManager($this));
        $this->alias('auth', AuthFactory::class);
        $this->singleton('redis', fn () => new RedisManager($this, 'phpredis', $config->get('database.redis')));
        $this->alias('redis', RedisFactory::class);
        $this->singleton(BroadcastManager::class, fn () => new BroadcastManager($this));
        $this->alias(BroadcastManager::class, BroadcastFactory::class);
        $this->singleton(BusContract::class, fn () => new Jobs($this));
        $this->singleton(ExceptionHandler::class, Exceptions::class);
        $this->bindViews();
    }

    private function bindViews(): void
    {
        $this->singleton('blade.compiler', function () {
            $folder = $this->storagePath('framework/views');
            is_dir($folder) || mkdir($folder, 0o755, true);

            return new BladeCompiler($this->make('files'), $folder);
        });
        $this->alias('blade.compiler', BladeCompiler::class);
        $this->singleton('view', function () {
            $engines = new EngineResolver;
            $engines->register('blade', fn () => new CompilerEngine($this->make('blade.compiler'), $this->make('files')));
            $views = new Views($engines, new FileViewFinder($this->make('files'), [$this->resourcePath('views')]), $this->make('events'));
            $views->setContainer($this);

            return $views;
        });
        $this->alias('view', ViewFactory::class);
    }
}
