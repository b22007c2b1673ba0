<?php

// Laravel's own Redis facade and manager, as an application has them: configured like config/database.php, with the
// phpredis client and a prefix.

require 'Illuminate/Container/autoload.php';
require 'Illuminate/Redis/autoload.php';

use Illuminate\Container\Container;
use Illuminate\Redis\RedisManager;
use Illuminate\Support\Facades\Facade;

error_reporting(E_ALL);
set_error_handler(function (int $level, string $message, string $file, int $line) {
    // The framework of Debian 12 is older than its PHP: what PHP deprecates there says nothing about these scripts.
    if ($level & (E_DEPRECATED | E_USER_DEPRECATED)) {
        return true;
    }
    throw new ErrorException($message, 0, $level, $file, $line);
});

$app = new Container();
$app->singleton('redis', fn ($app) => new RedisManager($app, 'phpredis', [
    'options' => ['prefix' => getenv('REDIS_PREFIX')],
    'default' => ['host' => '127.0.0.1', 'port' => (int) getenv('REDIS_PORT'), 'database' => 0],
]));
Facade::setFacadeApplication($app);
