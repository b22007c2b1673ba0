<?php

namespace Yamabiko\Laravel\Tests\Support;

/** Runs artisan of an application in a folder, in a process of its own. */
final class Artisan
{
    /** @param  array<string, string>  $environment */
    public static function start(string $folder, array $environment, string ...$arguments): Process
    {
        return new Process([PHP_BINARY, __DIR__.'/artisan.php', ...$arguments], ['BASE_PATH' => $folder] + $environment);
    }

    /**
     * @param  array<string, string>  $environment
     * @return array{int, string} the exit code and the output
     */
    public static function run(string $folder, array $environment, string ...$arguments): array
    {
        $process = self::start($folder, $environment, ...$arguments);

        return [$process->wait(), $process->output()];
    }
}
