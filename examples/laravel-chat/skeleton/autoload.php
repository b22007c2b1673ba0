<?php

/*
 * Laravel's components, the package yamabiko/laravel and this application. In an application that is installed with Composer,
 * vendor/autoload.php does this. The components are those that Composer has installed for the package, or Debian's.
 */

$composer = dirname(__DIR__, 3).'/clients/laravel/vendor/autoload.php';
if (is_file($composer)) {
    require_once $composer;
} else {
    foreach (['Auth', 'Broadcasting', 'Bus', 'Cache', 'Config', 'Console', 'Container', 'Events', 'Filesystem', 'Http', 'Redis', 'Routing', 'View'] as $component) {
        require_once "Illuminate/{$component}/autoload.php";
    }
    require_once 'Dotenv/autoload.php';
    require_once 'GuzzleHttp/autoload.php';
}
require_once __DIR__.'/helpers.php';

spl_autoload_register(function (string $class): void {
    $folders = [
        'Yamabiko\\Laravel\\' => dirname(__DIR__, 3).'/clients/laravel/src/',
        'Skeleton\\' => __DIR__.'/',
        'App\\' => dirname(__DIR__).'/app/',
    ];
    foreach ($folders as $namespace => $folder) {
        $file = $folder.str_replace('\\', '/', substr($class, strlen($namespace))).'.php';
        if (str_starts_with($class, $namespace) && is_file($file)) {
            require $file;

            return;
        }
    }
});

error_reporting(E_ALL);
set_error_handler(function (int $level, string $message, string $file, int $line): bool {
    // The components of Debian 12 are older than its PHP: what PHP deprecates there says nothing about this application.
    $isForeign = ! str_starts_with($file, dirname(__DIR__, 3).'/') || str_contains($file, '/vendor/');
    if ($level & (E_DEPRECATED | E_USER_DEPRECATED) && $isForeign) {
        return true;
    }
    if (! (error_reporting() & $level)) {
        return false;
    }
    throw new ErrorException($message, 0, $level, $file, $line);
});
