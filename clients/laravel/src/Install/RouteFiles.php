<?php

namespace Yamabiko\Laravel\Install;

/** The routes and channels of the application. What is there already stays. */
final class RouteFiles
{
    public function __construct(private readonly string $basePath) {}

    /** @return list<string> what was done */
    public function install(): array
    {
        return array_values(array_filter([
            $this->channels(),
            $this->bootstrap(),
            $this->provider(),
            $this->web(),
        ]));
    }

    private function channels(): ?string
    {
        return $this->append('routes/channels.php', 'Yamabiko::authorize', "<?php\n", <<<'PHP'

            // Who gets a token for which native channel. What no rule admits is refused.
            Yamabiko\Laravel\Facades\Yamabiko::authorize('chat:{room}', fn ($user, string $room) => true);
            PHP);
    }

    private function web(): ?string
    {
        return $this->append('routes/web.php', 'yamabikoToken', "<?php\n\nuse Illuminate\\Support\\Facades\\Route;\n", <<<'PHP'

            // Tokens for native channels, to those whom routes/channels.php admits
            Route::middleware('auth')->group(fn () => Route::yamabikoToken());
            // A chat at /yamabiko to try it, in the environment "local" only
            Route::yamabikoDemo();
            PHP);
    }

    private function append(string $file, string $mark, string $head, string $text): ?string
    {
        $path = "{$this->basePath}/{$file}";
        $before = is_file($path) ? (string) file_get_contents($path) : null;
        if ($before !== null && str_contains($before, $mark)) {
            return null;
        }
        is_dir(dirname($path)) || mkdir(dirname($path), 0o755, true);
        file_put_contents($path, rtrim($before ?? $head)."\n{$text}\n");

        return ($before === null ? 'Created ' : 'Added to ').$file;
    }

    /** Laravel 11 and newer: as `install:broadcasting` does. */
    private function bootstrap(): ?string
    {
        $path = "{$this->basePath}/bootstrap/app.php";
        $before = is_file($path) ? (string) file_get_contents($path) : '';
        if (! str_contains($before, '->withRouting(') || preg_match('~^\s*channels: ~m', $before) === 1) {
            return null;
        }
        $line = "channels: __DIR__.'/../routes/channels.php',";
        $after = str_contains($before, '// channels: ')
            ? str_replace('// channels: ', 'channels: ', $before)
            : (string) preg_replace('/->withRouting\(\n?/', "->withRouting(\n        {$line}\n", $before, 1);
        file_put_contents($path, $after);

        return 'Registered routes/channels.php in bootstrap/app.php';
    }

    /** Laravel 10: the provider that loads routes/channels.php is there, but not registered. */
    private function provider(): ?string
    {
        $path = "{$this->basePath}/config/app.php";
        $before = is_file($path) ? (string) file_get_contents($path) : '';
        $after = str_replace('// App\\Providers\\BroadcastServiceProvider::class', 'App\\Providers\\BroadcastServiceProvider::class', $before);
        if ($after === $before) {
            return null;
        }
        file_put_contents($path, $after);

        return 'Registered App\\Providers\\BroadcastServiceProvider in config/app.php';
    }
}
