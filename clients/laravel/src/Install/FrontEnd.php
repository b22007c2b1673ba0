<?php

namespace Yamabiko\Laravel\Install;

/** The example of a chat, Laravel Echo, and the packages that they need. */
final class FrontEnd
{
    private const PACKAGE = __DIR__.'/../..';

    /** As Laravel's install:broadcasting writes it. */
    private const ECHO_IMPORT = "import './echo';";

    /** Where it may be, in the order in which the import is looked for. */
    private const SCRIPTS = ['resources/js/bootstrap.js', 'resources/js/app.js', 'resources/js/app.ts', 'resources/js/app.tsx', 'resources/js/app.jsx'];

    /** @var array<string> */
    private array $packages;

    /** @param  string  $version  of @yamabiko/client */
    public function __construct(
        private readonly Project $project,
        private readonly string $version,
        private readonly bool $force,
    ) {
        $this->packages = PackageFile::packages($project);
    }

    /** What package.json depends on. */
    public function stack(): string
    {
        return match (true) {
            isset($this->packages['react']) => 'react',
            isset($this->packages['vue']) => 'vue',
            default => 'blade',
        };
    }

    public function example(string $stack): void
    {
        match ($stack) {
            'react' => $this->publish('stubs/js/YamabikoChat.jsx', 'resources/js/components/YamabikoChat.jsx'),
            'vue' => $this->publish('stubs/js/YamabikoChat.vue', 'resources/js/components/YamabikoChat.vue'),
            default => $this->publish('resources/views/chat.blade.php', 'resources/views/vendor/yamabiko/chat.blade.php'),
        };
        $this->require('@yamabiko/client', "^{$this->version}");
    }

    /**
     * @param  string|null  $connector  "yamabiko" or "pusher"; null: Echo is not asked for
     * @param  string  $app  how the names of the app in .env begin
     */
    public function echo(?string $connector, string $app): void
    {
        $hooks = array_intersect(['@laravel/echo-react', '@laravel/echo-vue'], array_keys($this->packages));
        if ($connector === null) {
            if ($hooks !== [] || isset($this->packages['pusher-js'])) {
                $this->project->note('Kept pusher-js: pages with Laravel Echo work as they are; docs/javascript.md shows the smaller connector (--echo)');
            }

            return;
        }
        if ($hooks !== []) {
            // The page configures Echo where it starts: which options it has is its own affair.
            $this->project->note($connector === 'pusher'
                ? "Kept configureEcho() of {$hooks[array_key_first($hooks)]}: it uses pusher-js"
                : 'To do: configureEcho({ broadcaster: YamabikoConnector }), as docs/javascript.md shows under "Laravel Echo"');
        } else {
            $stub = (string) file_get_contents(self::PACKAGE."/stubs/js/echo-{$connector}.js");
            $this->project->publish('resources/js/echo.js', str_replace('VITE_PUSHER_', "VITE_{$app}_", $stub), $this->force);
            $this->import();
            $this->require('laravel-echo', '^2.0.0');
        }
        $connector === 'pusher' ? $this->require('pusher-js', '^8.0.0') : $this->require('@yamabiko/client', "^{$this->version}");
    }

    private function import(): void
    {
        foreach (self::SCRIPTS as $file) {
            if ($this->project->has($file)) {
                $text = $this->project->read($file);
                if (! str_contains($text, './echo')) {
                    $this->project->write($file, ltrim(rtrim($text)."\n\n".self::ECHO_IMPORT."\n"), 'the import of Echo');
                }

                return;
            }
        }
        $this->project->note('To do: '.self::ECHO_IMPORT.' in the script of the pages');
    }

    private function require(string $package, string $version): void
    {
        if (! isset($this->packages[$package]) && $this->project->has('package.json')) {
            PackageFile::add($this->project, $package, $version);
            $this->packages = PackageFile::packages($this->project);
        }
    }

    private function publish(string $from, string $to): void
    {
        $this->project->publish($to, (string) file_get_contents(self::PACKAGE."/{$from}"), $this->force);
    }
}
