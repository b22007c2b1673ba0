<?php

namespace Yamabiko\Laravel\Tests\Support;

use App\Models\User;
use Illuminate\Filesystem\Filesystem;
use PHPUnit\Framework\TestCase as BaseTestCase;
use Skeleton\Application;
use Yamabiko\Laravel\YamabikoServiceProvider;

/** A Laravel application with the package, a Redis and the real server. */
abstract class TestCase extends BaseTestCase
{
    protected const PREFIX = 'laravel_database_';

    protected static Redis $redis;

    protected static Server $server;

    protected Application $app;

    protected string $folder;

    /** @return array<string, string> what the server of this class has in its environment */
    protected static function serverEnvironment(): array
    {
        return [];
    }

    public static function setUpBeforeClass(): void
    {
        self::$redis = new Redis;
        self::$server = new Server(static::serverEnvironment() + [
            'REDIS_PORT' => (string) self::$redis->port,
            'REDIS_HOST' => '127.0.0.1',
            'YAMABIKO__REDIS__PREFIX' => self::PREFIX,
        ]);
    }

    public static function tearDownAfterClass(): void
    {
        self::$server->stop();
        self::$redis->stop();
    }

    protected function setUp(): void
    {
        $this->folder = sys_get_temp_dir().'/yamabiko-'.bin2hex(random_bytes(6));
        mkdir($this->folder);
        $this->app = $this->application();
    }

    protected function tearDown(): void
    {
        (new Filesystem)->deleteDirectory($this->folder);
    }

    /** @param  array<string, mixed>  $config  by dotted keys */
    protected function application(array $config = []): Application
    {
        $app = new Application($this->folder);
        $app->make('config')->set($config + [
            'database.redis.options.prefix' => self::PREFIX,
            'database.redis.default' => ['host' => '127.0.0.1', 'port' => self::$redis->port, 'database' => 0],
            'broadcasting.default' => 'yamabiko',
        ]);
        $app->register(YamabikoServiceProvider::class);
        $app->make('config')->set($config + [
            'yamabiko.http.url' => 'http://127.0.0.1:'.self::$server->admin,
            'yamabiko.tokens.url' => 'ws://127.0.0.1:'.self::$server->port.'/ws',
            'yamabiko.tokens.secret' => Server::SECRET,
            'yamabiko.app' => Server::APP,
        ]);
        $app->boot();

        return $app;
    }

    protected static function user(int|string $id = 7, string $name = 'あおい'): User
    {
        return new User($id, $name);
    }

    /** A page with this token. */
    protected static function page(string $token): WebSocket
    {
        return new WebSocket(self::$server->port, '/ws?token='.urlencode($token));
    }
}
