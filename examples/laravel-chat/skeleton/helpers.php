<?php

use Illuminate\Container\Container;

// The helpers of laravel/framework that this application uses, where only Laravel's components are installed.

if (! function_exists('app')) {
    function app(): Container
    {
        return Container::getInstance();
    }
}

if (! function_exists('config')) {
    function config(string $key): mixed
    {
        return app()->make('config')->get($key);
    }
}
