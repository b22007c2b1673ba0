<?php
// composer require pusher/pusher-php-server. Laravel 11 or newer; in older versions, broadcast an event class.

use Illuminate\Support\Facades\Broadcast;

Broadcast::on('news')->as('posted')->with(['title' => 'Hello'])->sendNow();
