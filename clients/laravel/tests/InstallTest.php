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

    private const PACKAGE = "{\n  \"type\": \"module\",\n  \"files\": {},\n  \"devDependencies\": {\n    \"axios\": \"^1.7.4\"\n  }\n}\n";

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
        $this->assertStringContainsString('Nothing to do', $this->install());
        $this->assertSame($before, $this->snapshot());
    }

    public function test_a_dry_run_says_what_the_run_does_and_writes_nothing(): void
    {
        $this->files(['.env.example' => self::ENV, 'bootstrap/app.php' => self::BOOTSTRAP, 'composer.json' => self::COMPOSER, 'package.json' => self::PACKAGE]);
        $before = $this->snapshot();
        $said = $this->install('--dry-run', '--echo');
        $this->assertSame($before, $this->snapshot());
        $this->assertStringContainsString('Nothing was written', $said);
        $done = $this->install('--echo');
        $steps = fn (string $text) => preg_replace('/^(?:Would (create|change)|(Create|Change)d) /mi', '', implode("\n", preg_grep('/^(Would|Created|Changed)/', explode("\n", $text))));
        $this->assertSame($steps($done), $steps($said));
        $this->assertSame(10, substr_count($steps($said), "\n") + 1, $said);
        $this->assertStringNotContainsString(Dotenv::parse($this->read('.env'))['APP_WS_JWT_SECRET'], $done);
    }

    public function test_what_was_changed_by_hand_stays_unless_it_is_forced(): void
    {
        $this->files(['.env' => self::ENV, 'package.json' => self::PACKAGE]);
        $this->install('--stack=react', '--echo');
        $mine = ['resources/js/components/YamabikoChat.jsx', 'resources/js/echo.js', 'config/yamabiko.php'];
        foreach ($mine as $file) {
            file_put_contents("{$this->folder}/{$file}", '/* mine */', FILE_APPEND);
        }
        file_put_contents("{$this->folder}/routes/channels.php", str_replace("'chat:{room}', fn", "'chat:staff', fn", $this->read('routes/channels.php')));
        $before = $this->snapshot();
        $said = $this->install('--stack=react', '--echo');
        $this->assertSame($before, $this->snapshot());
        foreach ($mine as $file) {
            $this->assertStringContainsString("Kept {$file}", $said);
        }
        $this->install('--stack=react', '--echo', '--force');
        foreach ($mine as $file) {
            $this->assertStringNotContainsString('mine', $this->read($file));
        }
        $this->assertStringContainsString('chat:staff', $this->read('routes/channels.php'));
    }

    public function test_pages_get_the_client_in_the_way_of_npm(): void
    {
        $this->files(['.env' => self::ENV, 'package.json' => self::PACKAGE, 'pnpm-lock.yaml' => '', 'resources/js/app.js' => "import axios from 'axios';\n"]);
        $this->assertStringContainsString('pnpm install', $this->install('--echo'));
        $expected = str_replace('"axios": "^1.7.4"', "\"@yamabiko/client\": \"^0.1.0\",\n    \"axios\": \"^1.7.4\",\n    \"laravel-echo\": \"^2.0.0\"", self::PACKAGE);
        $this->assertSame($expected, $this->read('package.json'));
        $this->assertSame("import axios from 'axios';\n\nimport './echo';\n", $this->read('resources/js/app.js'));
        $this->assertStringContainsString('from "@yamabiko/client/echo"', $this->read('resources/js/echo.js'));
        $this->assertStringContainsString('VITE_PUSHER_APP_KEY', $this->read('resources/js/echo.js'));
    }

    public function test_pages_with_pusher_js_stay_as_they_are(): void
    {
        $echo = "window.Pusher = Pusher;\n";
        $this->files(['.env' => self::ENV, 'package.json' => str_replace('axios', 'pusher-js', self::PACKAGE), 'resources/js/echo.js' => $echo]);
        $this->assertStringContainsString('Kept pusher-js', $this->install());
        $this->assertStringContainsString('Kept resources/js/echo.js', $this->install('--echo'));
        $this->assertSame($echo, $this->read('resources/js/echo.js'));
        $this->install('--echo=pusher', '--force');
        $this->assertStringContainsString('import Pusher from "pusher-js"', $this->read('resources/js/echo.js'));
        // The hooks of @laravel/echo-react configure Echo in the application's own script.
        $this->files(['package.json' => '{"dependencies":{"@laravel/echo-react":"^2.0","react":"^19.0"}}', 'resources/js/echo.js' => $echo]);
        $this->assertStringContainsString('configureEcho', $this->install('--echo', '--force'));
        $this->assertSame($echo, $this->read('resources/js/echo.js'));
    }

    public function test_the_app_of_laravel_10_gets_values_and_that_of_pusher_com_stays(): void
    {
        $this->files(['.env' => "BROADCAST_DRIVER=log\nPUSHER_APP_ID=\nPUSHER_APP_KEY=\nPUSHER_APP_SECRET=\nPUSHER_HOST=\nPUSHER_PORT=443\nPUSHER_SCHEME=https\n"]);
        $this->install('--stack=none');
        $env = Dotenv::parse($this->read('.env'));
        $this->assertSame(['localhost', '8080', 'http'], [$env['PUSHER_HOST'], $env['PUSHER_PORT'], $env['PUSHER_SCHEME']]);
        $this->assertMatchesRegularExpression('/^[0-9a-f]{20}$/', $env['PUSHER_APP_KEY']);

        $this->files(['.env' => "BROADCAST_CONNECTION=pusher\nPUSHER_APP_KEY=key-of-pusher-com\nPUSHER_HOST=\nPUSHER_PORT=443\n"]);
        $this->assertStringContainsString('Kept the app of pusher.com', $this->install('--stack=none'));
        $env = Dotenv::parse($this->read('.env'));
        $this->assertSame(['key-of-pusher-com', '', '443'], [$env['PUSHER_APP_KEY'], $env['PUSHER_HOST'], $env['PUSHER_PORT']]);
        $this->assertArrayNotHasKey('PUSHER_APP_SECRET', $env);
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
        $this->assertStringContainsString('Kept BROADCAST_DRIVER=reverb', $this->install('--echo'));
        $env = Dotenv::parse($this->read('.env'));
        $this->assertSame(['reverb', 'a-secret-of-the-old-server-that-stays'], [$env['BROADCAST_DRIVER'], $env['APP_WS_JWT_SECRET']]);
        $this->assertSame('', $env['PUSHER_APP_KEY']);
        $this->assertStringStartsWith($channels, $this->read('routes/channels.php'));
        $this->assertStringContainsString("\n        App\\Providers\\BroadcastServiceProvider::class,", $this->read('config/app.php'));
        $this->assertFileExists("{$this->folder}/resources/js/components/YamabikoChat.vue");
        $this->assertStringContainsString('key: import.meta.env.VITE_REVERB_APP_KEY', $this->read('resources/js/echo.js'));
        $this->install('--force', '--stack=react');
        $this->assertSame('yamabiko', Dotenv::parse($this->read('.env'))['BROADCAST_DRIVER']);
        $this->assertFileExists("{$this->folder}/resources/js/components/YamabikoChat.jsx");
    }

    public function test_the_port_of_the_old_server_stays(): void
    {
        $this->files(['.env' => "APP_WS_HOST=127.0.0.1\nAPP_WS_PORT=9001\nAPP_WS_JWT_SECRET='a&secret\$of#the old server of 32 bytes'\n"]);
        $this->install('--stack=none');
        $env = Dotenv::parse($this->read('.env'));
        $this->assertSame(['ws://localhost:9001/ws', '9001'], [$env['APP_WS_URL'], $env['PUSHER_PORT']]);
        $this->assertSame('a&secret$of#the old server of 32 bytes', $env['APP_WS_JWT_SECRET']);
    }

    public function test_without_redis_the_application_publishes_over_http(): void
    {
        $this->files(['.env' => 'REDIS_PORT='.Ports::free()."\n"]);
        [, $output] = Artisan::run($this->folder, [], 'yamabiko:install', '--stack=none');
        $this->assertStringContainsString('Redis does not answer', $output);
        $this->assertStringContainsString("\nYAMABIKO_VIA=http\n", $this->read('.env'));
        foreach (['--stack=angular', '--echo=ably'] as $option) {
            [$code, $output] = Artisan::run($this->folder, [], 'yamabiko:install', $option);
            $this->assertSame(1, $code);
            $this->assertStringContainsString(' is one of ', $output);
        }
    }
}
