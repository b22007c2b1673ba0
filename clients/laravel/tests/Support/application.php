<?php

// An application whose listener writes the events of the server into $EVENTS_FILE.

require __DIR__.'/../bootstrap.php';

use Illuminate\Support\Facades\Event;
use Skeleton\Application;
use Yamabiko\Laravel\Events\MessageReceived;
use Yamabiko\Laravel\Events\ServerEvent;
use Yamabiko\Laravel\YamabikoServiceProvider;

$app = new Application(getenv('BASE_PATH') ?: sys_get_temp_dir());
$app->register(YamabikoServiceProvider::class);
$app->boot();

Event::listen(ServerEvent::class, function (ServerEvent $event): void {
    $file = (string) getenv('EVENTS_FILE');
    $text = $event instanceof MessageReceived ? ($event->data['message'] ?? '') : '';
    if (file_exists("{$file}.fail") && unlink("{$file}.fail")) {
        throw new RuntimeException('the listener fails once');
    }
    if ($text === 'poison') {
        throw new RuntimeException('the listener fails for ever');
    }
    file_put_contents($file, json_encode(['class' => class_basename($event)] + get_object_vars($event))."\n", FILE_APPEND | LOCK_EX);
    while ($text === 'hang' && ! file_exists("{$file}.go")) {
        usleep(10_000);
    }
});

return $app;
