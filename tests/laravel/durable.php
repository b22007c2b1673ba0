<?php

// php durable.php: runs the snippet of docs/laravel.md as it is.

require __DIR__.'/bootstrap.php';
require __DIR__.'/../../docs/snippets/durable.php';
