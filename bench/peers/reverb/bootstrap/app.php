<?php

use Illuminate\Foundation\Application;
use Laravel\Reverb\ApplicationManagerServiceProvider;
use Laravel\Reverb\ReverbServiceProvider;

return Application::configure(basePath: dirname(__DIR__))
    ->withProviders([ApplicationManagerServiceProvider::class, ReverbServiceProvider::class])
    ->withExceptions()
    ->create();
