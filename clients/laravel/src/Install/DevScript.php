<?php

namespace Yamabiko\Laravel\Install;

/** The script `dev` of composer.json, which starts everything with concurrently in Laravel 11 and 12. */
final class DevScript
{
    public static function install(Project $project): void
    {
        $before = $project->read('composer.json');
        if (str_contains($before, 'yamabiko:start')) {
            return;
        }
        // The names and the colours of concurrently are lists, in the order of its commands.
        $after = (string) preg_replace(
            '/(concurrently -c \\\\"[^"]*?)(\\\\" .*?) --names=([\w,-]+)/',
            '$1,#86efac$2 \\"php artisan yamabiko:start\\" --names=$3,yamabiko',
            $before,
            1,
        );
        if ($after !== $before && is_array(json_decode($after, true))) {
            $project->write('composer.json', $after, 'php artisan yamabiko:start in the script "dev"');
        }
    }
}
