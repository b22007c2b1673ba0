<?php

namespace Yamabiko\Laravel\Console;

use Illuminate\Console\Command;
use Yamabiko\Laravel\Health\HealthCheck;

class HealthCommand extends Command
{
    protected $signature = 'yamabiko:health';

    protected $description = 'Check whether what the application publishes reaches a server';

    public function handle(HealthCheck $check): int
    {
        $problems = $check->problems();
        array_map($this->error(...), $problems);
        if ($problems === []) {
            $this->info('The application and the server are connected.');
        }

        return $problems === [] ? self::SUCCESS : self::FAILURE;
    }
}
