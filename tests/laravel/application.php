<?php

// Laravel's container with what the framework binds for broadcasting, and what docs/migrate.md adds to an application.
// $BROADCAST_CONNECTION chooses the connection, as in a .env file.

require 'Illuminate/Broadcasting/autoload.php';
require 'Illuminate/Config/autoload.php';
require 'Illuminate/Events/autoload.php';
require 'Illuminate/Http/autoload.php';
require __DIR__.'/bootstrap.php';
require __DIR__.'/../../docs/laravel/YamabikoBroadcaster.php';

use App\Broadcasting\YamabikoBroadcaster;
use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Bus\Dispatcher as Jobs;
use Illuminate\Config\Repository;
use Illuminate\Contracts\Broadcasting\Factory;
use Illuminate\Contracts\Bus\Dispatcher as BusContract;
use Illuminate\Events\Dispatcher as Events;

$app->instance('config', new Repository([
    'broadcasting' => [
        'default' => getenv('BROADCAST_CONNECTION') ?: 'redis',
        'connections' => [
            'redis' => ['driver' => 'redis', 'connection' => 'default'],
            'yamabiko' => [
                'driver' => 'yamabiko',
                'connection' => 'default',
                'key' => getenv('PUSHER_APP_KEY'),
                'secret' => getenv('PUSHER_APP_SECRET'),
            ],
        ],
    ],
    'database' => ['redis' => ['options' => ['prefix' => getenv('REDIS_PREFIX')]]],
]));
$app->instance('events', new Events($app));
$app->instance(BusContract::class, new Jobs($app));
$app->instance(Factory::class, $manager = new BroadcastManager($app));

$manager->extend('yamabiko', fn ($app, array $config) => new YamabikoBroadcaster(
    $app->make('redis'),
    $config['connection'],
    $app['config']['database.redis.options.prefix'],
    $config['key'],
    $config['secret'],
));
