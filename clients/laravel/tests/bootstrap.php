<?php

// The parts of Laravel that the tests run on are Composer's or Debian's: see examples/laravel-chat/skeleton.

require __DIR__.'/../../../examples/laravel-chat/skeleton/autoload.php';

spl_autoload_register(function (string $class): void {
    $namespace = 'Yamabiko\\Laravel\\Tests\\';
    if (str_starts_with($class, $namespace)) {
        require __DIR__.'/'.str_replace('\\', '/', substr($class, strlen($namespace))).'.php';
    }
});
