<?php

require __DIR__.'/../skeleton/autoload.php';

return Skeleton\Application::configure(dirname(__DIR__), [
    Yamabiko\Laravel\YamabikoServiceProvider::class,
    App\Providers\AppServiceProvider::class,
]);
