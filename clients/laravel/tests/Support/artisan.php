<?php

// php artisan.php COMMAND …

$app = require __DIR__.'/application.php';
exit($app->artisan()->run());
