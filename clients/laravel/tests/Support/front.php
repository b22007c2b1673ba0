<?php

// The front controller of an application with the routes that the server calls.

use Illuminate\Http\Request;
use Illuminate\Support\Facades\Route;
use Yamabiko\Laravel\Tests\Support\LinkGate;

$app = require __DIR__.'/application.php';
Route::yamabikoWebhook();
Route::yamabikoGate('/yamabiko/gate', LinkGate::class);
$app->handle(Request::capture())->send();
