<?php

namespace Yamabiko\Laravel\Tests;

use Yamabiko\Laravel\Facades\Yamabiko;
use Yamabiko\Laravel\Tests\Support\Artisan;
use Yamabiko\Laravel\Tests\Support\Ports;
use Yamabiko\Laravel\Tests\Support\Process;
use Yamabiko\Laravel\Tests\Support\Server;
use Yamabiko\Laravel\Tests\Support\TestCase;
use Yamabiko\Laravel\Tests\Support\WebServer;
use Yamabiko\Laravel\Tests\Support\WebSocket;

/** yamabiko:start, yamabiko:reload and yamabiko:health with the real server. */
final class StartTest extends TestCase
{
    private function env(string $text = ''): void
    {
        file_put_contents("{$this->folder}/.env", "APP_WS_JWT_SECRET='".Server::SECRET."'\nREDIS_HOST=127.0.0.1\nREDIS_PORT=".self::$redis->port
            ."\nREDIS_PREFIX=of_the_app_\nYAMABIKO__SERVER__HOST=127.0.0.1\nYAMABIKO__ADMIN__LISTEN=127.0.0.1:0\nYAMABIKO__LOG__FORMAT=json\n{$text}");
    }

    private function start(string ...$options): Process
    {
        return Artisan::start($this->folder, ['YAMABIKO_BINARY' => Server::binary()], 'yamabiko:start', ...$options);
    }

    /** @return list<string> what --print shows */
    private function plan(string ...$options): array
    {
        [$code, $output] = Artisan::run($this->folder, ['YAMABIKO_BINARY' => Server::binary()], 'yamabiko:start', '--print', ...$options);
        $this->assertSame(0, $code, $output);

        return explode("\n", trim($output));
    }

    public function test_the_process_becomes_the_server_of_the_application(): void
    {
        $this->env("REVERB_SERVER_PORT=0\n");
        $process = $this->start();
        [$port] = $process->until(Server::ports(...));
        // The prefix is Laravel's, though no name that the server knows has it.
        $this->app = $this->application(['database.redis.options.prefix' => 'of_the_app_']);
        $page = new WebSocket($port, '/ws?token='.Yamabiko::token(self::user(), 'chat:default'));
        $process->until(fn () => Yamabiko::channel('chat:default')->send(['message' => 'hello'])->nodes === 1);
        $this->assertSame('hello', $page->next()['data']['message']);

        $process->signal(SIGTERM);
        $this->assertSame(1001, $page->closeCode());
        $this->assertSame(0, $process->wait(), $process->output());
    }

    public function test_changes_of_the_env_file_are_taken_over_without_closing_connections(): void
    {
        $this->env();
        $process = $this->start('--port=0');
        [$port, $admin] = $process->until(Server::ports(...));
        $page = new WebSocket($port, '/ws?token='.Yamabiko::token(self::user(), 'chat:default'));
        $new = 'another secret of 32 bytes for the tests';
        $env = str_replace(Server::SECRET, $new, (string) file_get_contents("{$this->folder}/.env"))."YAMABIKO__LIMITS__OUTBOX_BYTES=2000000\n";
        file_put_contents("{$this->folder}/.env", $env);
        $reload = fn () => Artisan::run($this->folder, ['YAMABIKO_API_URL' => "http://127.0.0.1:{$admin}"], 'yamabiko:reload');
        [$code, $output] = $reload();
        $this->assertSame(0, $code, $output);
        $this->assertStringContainsString('auth.secret: in force', $output);
        $this->assertStringContainsString('limits.outbox_bytes: needs a restart, because the queues are bounded at the start', $output);
        $this->application(['yamabiko.tokens.secret' => $new]);
        new WebSocket($port, '/ws?token='.Yamabiko::token(self::user(), 'chat:default'));
        $page->send(['data' => ['message' => 'still here']]);
        $this->assertTrue($page->next()['ok']);

        file_put_contents("{$this->folder}/.env", "YAMABIKO__LIMITS__BURST=many\n", FILE_APPEND);
        [$code, $output] = $reload();
        $this->assertSame(1, $code, $output);
        $this->assertStringContainsString('burst', $output);
        $process->stop();
        $this->assertSame(1, $reload()[0]);
    }

    public function test_options_names_and_flags_reach_the_server(): void
    {
        $this->env("REVERB_SERVER_PORT=7000\n");
        $plan = $this->plan('--port=7001', '--config=yamabiko.toml');
        $this->assertSame(Server::binary()." --env-file {$this->folder}/.env --config {$this->folder}/yamabiko.toml serve", $plan[0]);
        $this->assertContains('YAMABIKO__SERVER__PORT=7001', $plan);
        $this->assertContains('YAMABIKO__REDIS__PREFIX=of_the_app_', $plan);
        $this->assertStringEndsWith(' dev', $this->plan('--dev')[0]);
        $this->assertStringEndsWith(' config show', $this->plan('--', 'config', 'show')[0]);
        $this->assertContains('YAMABIKO__SERVER__PORT=7000', $this->plan());
        $this->env("REVERB_SERVER_PORT=7000\nAPP_WS_PORT=9000\nYAMABIKO__REDIS__PREFIX=mine_\nYAMABIKO_VIA=http\n");
        $plan = $this->plan();
        $this->assertNotContains('YAMABIKO__SERVER__PORT=7000', $plan);
        $this->assertSame([], preg_grep('/PREFIX|SECRET/', $plan));
        // Without Redis, the server does not wait for the one that a new .env file names.
        $this->assertContains('REDIS_HOST=', $plan);
        [$code, $output] = Artisan::run($this->folder, ['YAMABIKO_BINARY' => Server::binary()], 'yamabiko:start', '--', 'config', 'show');
        $this->assertSame(0, $code);
        $this->assertMatchesRegularExpression('/port.*9000/', $output);
        $this->assertStringNotContainsString(Server::SECRET, $output);
    }

    public function test_a_release_is_downloaded_once_and_only_with_its_checksum(): void
    {
        $machine = php_uname('m');
        $name = "yamabiko-0.1.0-linux-{$machine}";
        $folder = "{$this->folder}/releases/v0.1.0";
        mkdir("{$folder}/{$name}", recursive: true);
        file_put_contents("{$folder}/{$name}/yamabiko", "#!/bin/sh\nexec ".Server::binary().' "$@"');
        exec('tar -C '.escapeshellarg($folder)." -czf {$folder}/{$name}.tar.gz {$name}");
        $sum = hash_file('sha256', "{$folder}/{$name}.tar.gz");
        file_put_contents("{$this->folder}/router.php", "<?php\nreturn false;");
        $web = new WebServer("{$this->folder}/router.php", [], "{$this->folder}/releases");
        $run = fn (string ...$more) => Artisan::run($this->folder, ['YAMABIKO_RELEASES_URL' => "{$web->url}/v{version}/", 'PATH' => '/usr/bin:/bin'] + $more, 'yamabiko:start', '--', '--version');
        $installed = "{$this->folder}/storage/app/yamabiko/0.1.0/yamabiko";

        file_put_contents("{$folder}/SHA256SUMS", str_repeat('0', 64)."  {$name}.tar.gz\n");
        [$code, $output] = $run();
        $this->assertSame(1, $code);
        $this->assertStringContainsString("is {$sum} instead of 0000", $output);
        file_put_contents("{$folder}/SHA256SUMS", "{$sum}  another-{$name}.tar.gz\n");
        $this->assertStringContainsString('has no checksum', $run()[1]);
        file_put_contents("{$folder}/SHA256SUMS", "{$sum}  {$name}.tar.gz\n");
        $this->assertStringContainsString('instead of abc', $run(YAMABIKO_SHA256: 'abc')[1]);
        $this->assertSame([], glob("{$this->folder}/storage/app/yamabiko/0.1.0/*"));

        [$code, $output] = $run();
        $this->assertSame(0, $code, $output);
        $this->assertStringContainsString('yamabiko 0.1.0', $output);
        $this->assertSame([$installed], glob("{$this->folder}/storage/app/yamabiko/0.1.0/*"));
        $web->stop();
        $this->assertStringContainsString('yamabiko 0.1.0', $run()[1]);

        unlink($installed);
        [$code, $output] = $run();
        $this->assertSame(1, $code);
        $this->assertStringContainsString('cannot be downloaded', $output);
    }

    public function test_without_a_binary_it_says_what_to_do_and_downloads_from_nowhere(): void
    {
        $start = fn (array $environment) => Artisan::run($this->folder, $environment + ['PATH' => '/usr/bin:/bin'], 'yamabiko:start');
        [$code, $output] = $start([]);
        $this->assertSame(1, $code);
        foreach (['into PATH', 'YAMABIKO_BINARY=', 'YAMABIKO_RELEASES_URL=https://'] as $remedy) {
            $this->assertStringContainsString($remedy, $output);
        }
        // There, the checksums would come over the same line as the archive, and prove nothing.
        [$code, $output] = $start(['YAMABIKO_RELEASES_URL' => 'http://releases.invalid/v{version}']);
        $this->assertSame(1, $code);
        $this->assertStringContainsString('must begin with https://', $output);
        $this->assertDirectoryDoesNotExist("{$this->folder}/storage");
    }

    public function test_the_health_check_names_what_is_wrong(): void
    {
        $health = fn (array $environment) => Artisan::run($this->folder, $environment + [
            'REDIS_PORT' => (string) self::$redis->port,
            'REDIS_PREFIX' => self::PREFIX,
            'APP_WS_JWT_SECRET' => Server::SECRET,
        ], 'yamabiko:health');
        [$code, $output] = $health([]);
        $this->assertSame(0, $code, $output);
        $this->assertStringContainsString('another one', $health(['REDIS_PREFIX' => 'other_'])[1]);
        $this->assertStringContainsString(self::PREFIX.'broadcast', $health(['REDIS_PREFIX' => 'other_'])[1]);
        $this->assertStringContainsString('Redis cannot be reached', $health(['REDIS_PORT' => (string) Ports::free()])[1]);
        [$code, $output] = $health(['APP_WS_JWT_SECRET' => 'short']);
        $this->assertSame(1, $code);
        $this->assertStringContainsString('less than 32 bytes', $output);
        // Echo alone needs no tokens.
        [$code, $output] = $health(['APP_WS_JWT_SECRET' => '']);
        $this->assertSame(1, $code);
        $this->assertStringContainsString('No secret for tokens', $output);
        [$code, $output] = $health(['APP_WS_JWT_SECRET' => '', 'REVERB_APP_KEY' => 'echo-key']);
        $this->assertSame(0, $code, $output);
        $http = ['YAMABIKO_VIA' => 'http', 'REDIS_PORT' => '1'];
        $this->assertSame(0, $health($http + ['YAMABIKO_API_URL' => 'http://127.0.0.1:'.self::$server->admin])[0]);
        $this->assertSame(1, $health($http + ['YAMABIKO_API_URL' => 'http://127.0.0.1:'.Ports::free()])[0]);
    }
}
