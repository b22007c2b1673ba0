<?php

namespace Yamabiko\Laravel\Install;

/** The routes and channels of the application. What is there already stays. */
final class RouteFiles
{
    public function __construct(private readonly Project $project) {}

    public function install(): void
    {
        $this->channels();
        $this->bootstrap();
        $this->provider();
        $this->web();
    }

    private function channels(): void
    {
        $this->append('routes/channels.php', 'Yamabiko::authorize', "<?php\n", <<<'PHP'

            // Who gets a token for which native channel. What no rule admits is refused.
            Yamabiko\Laravel\Facades\Yamabiko::authorize('chat:{room}', fn ($user, string $room) => true);
            PHP);
    }

    private function web(): void
    {
        $this->append('routes/web.php', 'yamabikoToken', "<?php\n\nuse Illuminate\\Support\\Facades\\Route;\n", <<<'PHP'

            // Tokens for native channels, to those whom routes/channels.php admits
            Route::middleware('auth')->group(fn () => Route::yamabikoToken());
            // A chat at /yamabiko to try it, in the environment "local" only
            Route::yamabikoDemo();
            PHP);
    }

    private function append(string $file, string $mark, string $head, string $text): void
    {
        $before = $this->project->read($file);
        if (! str_contains($before, $mark)) {
            $this->project->write($file, rtrim($before === '' ? $head : $before)."\n{$text}\n");
        }
    }

    /** Laravel 11 and newer: as `install:broadcasting` does. */
    private function bootstrap(): void
    {
        $before = $this->project->read('bootstrap/app.php');
        if (! str_contains($before, '->withRouting(') || preg_match('~^\s*channels: ~m', $before) === 1) {
            return;
        }
        $line = "channels: __DIR__.'/../routes/channels.php',";
        $after = str_contains($before, '// channels: ')
            ? str_replace('// channels: ', 'channels: ', $before)
            : (string) preg_replace('/->withRouting\(\n?/', "->withRouting(\n        {$line}\n", $before, 1);
        $this->project->write('bootstrap/app.php', $after, 'routes/channels.php');
    }

    /** Laravel 10: the provider that loads routes/channels.php is there, but not registered. */
    private function provider(): void
    {
        $provider = 'App\\Providers\\BroadcastServiceProvider';
        $before = $this->project->read('config/app.php');
        if (str_contains($before, "// {$provider}::class")) {
            $this->project->write('config/app.php', str_replace("// {$provider}::class", "{$provider}::class", $before), $provider);
        }
    }
}
