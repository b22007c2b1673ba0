<?php

namespace Yamabiko\Laravel\Tests;

use Dotenv\Dotenv;
use Illuminate\Filesystem\Filesystem;
use Yamabiko\Laravel\Tests\Support\Artisan;
use Yamabiko\Laravel\Tests\Support\Ports;
use Yamabiko\Laravel\Tests\Support\Server;
use Yamabiko\Laravel\Tests\Support\TestCase;

/** yamabiko:install prepares an application, and the real server accepts the result. */
final class InstallTest extends TestCase
{
    private const ENV = "APP_NAME=Laravel\nAPP_ENV=local\n\nBROADCAST_CONNECTION=log\nREDIS_PASSWORD=null\n\nVITE_APP_NAME=\"\${APP_NAME}\"\n";

    private const WEB = "<?php\n\nuse Illuminate\\Support\\Facades\\Route;\n\nRoute::get('/', function () {\n    return view('welcome');\n});\n";

    private const BOOTSTRAP = <<<'PHP'
        <?php

        use Illuminate\Foundation\Application;
        use Illuminate\Foundation\Configuration\Middleware;

        return Application::configure(basePath: dirname(__DIR__))
            ->withRouting(
                web: __DIR__.'/../routes/web.php',
                commands: __DIR__.'/../routes/console.php',
                health: '/up',
            )
            ->create();

        PHP;

    private const COMPOSER = <<<'JSON'
        {
            "scripts": {
                "dev": [
                    "Composer\\Config::disableProcessTimeout",
                    "npx concurrently -c \"#93c5fd,#c4b5fd,#fb7185,#fdba74\" \"php artisan serve\" \"php artisan queue:listen --tries=1\" \"php artisan pail --timeout=0\" \"npm run dev\" --names=server,queue,logs,vite --kill-others"
                ]
            }
        }

        JSON;

    private function files(array $files): void
    {
        foreach ($files as $name => $text) {
            (new Filesystem)->ensureDirectoryExists(dirname("{$this->folder}/{$name}"));
            file_put_contents("{$this->folder}/{$name}", $text);
        }
    }

    private function read(string $file): string
    {
        return (string) file_get_contents("{$this->folder}/{$file}");
    }

    private function install(string ...$options): string
    {
        [$code, $output] = Artisan::run($this->folder, ['REDIS_PORT' => (string) self::$redis->port], 'yamabiko:install', ...$options);
        $this->assertSame(0, $code, $output);

        return $output;
    }

    /** @return array<string, string> the contents of all files */
    private function snapshot(): array
    {
        $files = (new Filesystem)->allFiles($this->folder, true);

        return array_combine(array_map('strval', $files), array_map(fn ($file) => $file->getContents(), $files));
    }

    public function test_a_new_application_of_laravel_11_to_13(): void
    {
        $this->files(['.env' => self::ENV, 'routes/web.php' => self::WEB, 'bootstrap/app.php' => self::BOOTSTRAP, 'composer.json' => self::COMPOSER]);
        $this->install();
        $env = Dotenv::parse($this->read('.env'));
        $this->assertStringStartsWith(str_replace('=log', '=yamabiko', self::ENV), $this->read('.env'));
        $this->assertSame(['yamabiko', $env['PUSHER_APP_KEY']], [$env['BROADCAST_CONNECTION'], $env['VITE_PUSHER_APP_KEY']]);
        $this->assertMatchesRegularExpression('/^[0-9a-f]{64}$/', $env['APP_WS_JWT_SECRET']);
        $this->assertArrayNotHasKey('YAMABIKO_VIA', $env);
        $this->assertStringContainsString("        channels: __DIR__.'/../routes/channels.php',\n", $this->read('bootstrap/app.php'));
        $this->assertStringContainsString('Yamabiko::authorize(', $this->read('routes/channels.php'));
        $this->assertStringStartsWith(rtrim(self::WEB)."\n", $this->read('routes/web.php'));
        $this->assertStringContainsString('Route::yamabikoToken()', $this->read('routes/web.php'));
        $this->assertFileExists("{$this->folder}/config/yamabiko.php");
        $this->assertFileExists("{$this->folder}/resources/views/vendor/yamabiko/chat.blade.php");
        $dev = json_decode($this->read('composer.json'), true, 512, JSON_THROW_ON_ERROR)['scripts']['dev'][1];
        $this->assertSame('npx concurrently -c "#93c5fd,#c4b5fd,#fb7185,#fdba74,#86efac" "php artisan serve" "php artisan queue:listen --tries=1" '
            .'"php artisan pail --timeout=0" "npm run dev" "php artisan yamabiko:start" --names=server,queue,logs,vite,yamabiko --kill-others', $dev);
        foreach (['bootstrap/app.php', 'routes/channels.php', 'routes/web.php', 'config/yamabiko.php'] as $file) {
            exec('php -l '.escapeshellarg("{$this->folder}/{$file}"), $_, $code);
            $this->assertSame(0, $code, $file);
        }
        exec(Server::binary().' --env-file '.escapeshellarg("{$this->folder}/.env").' config check 2>&1', $check, $code);
        $this->assertSame(0, $code, implode("\n", $check));

        $before = $this->snapshot();
        $this->assertStringContainsString('.env has everything', $this->install());
        $this->assertSame($before, $this->snapshot());
    }

    public function test_an_application_of_laravel_10_with_reverb_and_channels_of_its_own(): void
    {
        $channels = "<?php\n\nuse Illuminate\\Support\\Facades\\Broadcast;\n\nBroadcast::channel('Chat.{room}', fn () => true);\n";
        $this->files([
            '.env' => "BROADCAST_DRIVER=reverb\nREVERB_APP_KEY=reverb-key\nPUSHER_APP_KEY=\nAPP_WS_JWT_SECRET=a-secret-of-the-old-server-that-stays",
            'routes/channels.php' => $channels,
            'config/app.php' => "<?php\n\nreturn [\n    'providers' => [\n        // App\\Providers\\BroadcastServiceProvider::class,\n    ],\n];\n",
            'package.json' => '{"devDependencies":{"vue":"^3.5"}}',
        ]);
        $this->assertStringContainsString('BROADCAST_DRIVER is reverb and stays so', $this->install());
        $env = Dotenv::parse($this->read('.env'));
        $this->assertSame(['reverb', 'a-secret-of-the-old-server-that-stays'], [$env['BROADCAST_DRIVER'], $env['APP_WS_JWT_SECRET']]);
        $this->assertSame('', $env['PUSHER_APP_KEY']);
        $this->assertStringStartsWith($channels, $this->read('routes/channels.php'));
        $this->assertStringContainsString("\n        App\\Providers\\BroadcastServiceProvider::class,", $this->read('config/app.php'));
        $this->assertFileExists("{$this->folder}/resources/js/components/YamabikoChat.vue");
        $this->assertFileExists("{$this->folder}/resources/js/echo.js");
        $this->install('--force', '--stack=react');
        $this->assertSame('yamabiko', Dotenv::parse($this->read('.env'))['BROADCAST_DRIVER']);
        $this->assertFileExists("{$this->folder}/resources/js/components/YamabikoChat.jsx");
    }

    public function test_without_redis_the_application_publishes_over_http(): void
    {
        $this->files(['.env' => 'REDIS_PORT='.Ports::free()."\n"]);
        [, $output] = Artisan::run($this->folder, [], 'yamabiko:install', '--stack=none');
        $this->assertStringContainsString('Redis does not answer', $output);
        $this->assertStringContainsString("\nYAMABIKO_VIA=http\n", $this->read('.env'));
        [$code] = Artisan::run($this->folder, [], 'yamabiko:install', '--stack=angular');
        $this->assertSame(1, $code);
    }
}
