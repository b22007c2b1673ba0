<?php

use Illuminate\Container\Container;

// The helpers of laravel/framework that this application uses.

function app(): Container
{
    return Container::getInstance();
}

function config(string $key): mixed
{
    return app()->make('config')->get($key);
}
