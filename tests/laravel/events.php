<?php

// php events.php COUNT: runs the snippet of docs/native.md as it is. Prints events, and ends like a worker that is killed: before it has
// acknowledged the last one.

require __DIR__.'/bootstrap.php';

function store(object $event): void
{
    static $count = 0;
    echo json_encode($event), "\n";
    if (++$count === (int) $_SERVER['argv'][1]) {
        exit;
    }
}

require __DIR__.'/../../docs/snippets/events.php';
