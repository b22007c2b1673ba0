<?php

// The front controller of an application with the routes that the server calls. Its listeners write what they get into $EVENTS_FILE.

require __DIR__.'/../bootstrap.php';

use Illuminate\Http\Request;
use Illuminate\Support\Facades\Event;
use Illuminate\Support\Facades\Route;
use Skeleton\Application;
use Yamabiko\Laravel\Events\ServerEvent;
use Yamabiko\Laravel\Tests\Support\LinkGate;
use Yamabiko\Laravel\YamabikoServiceProvider;

$app = new Application(sys_get_temp_dir());
$app->register(YamabikoServiceProvider::class);
$app->boot();

$file = (string) getenv('EVENTS_FILE');
Event::listen(ServerEvent::class, function (ServerEvent $event) use ($file): void {
    if (file_exists("{$file}.fail") && unlink("{$file}.fail")) {
        throw new RuntimeException('the listener fails once');
    }
    file_put_contents($file, json_encode(['class' => class_basename($event)] + get_object_vars($event))."\n", FILE_APPEND | LOCK_EX);
});
Route::yamabikoWebhook();
Route::yamabikoGate('/yamabiko/gate', LinkGate::class);

$app->handle(Request::capture())->send();
