<?php

use Illuminate\Http\Request;

if (PHP_SAPI === 'cli-server' && is_file(__DIR__.parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH))) {
    return false;
}

$app = require __DIR__.'/../bootstrap/app.php';
$app->handle(Request::capture())->send();
