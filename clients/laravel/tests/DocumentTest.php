<?php

namespace Yamabiko\Laravel\Tests;

use App\Jobs\SampleJob;
use App\Listeners\RememberMessage;
use App\Models\User;
use Illuminate\Auth\Middleware\Authenticate;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Event;
use Illuminate\Support\Facades\Facade;
use RuntimeException;
use Yamabiko\Laravel\Events\MessageReceived;
use Yamabiko\Laravel\Facades\Yamabiko;
use Yamabiko\Laravel\Gate\Message;
use Yamabiko\Laravel\Tests\Support\TestCase;

/** What docs/laravel.md shows of the package, run as it is. */
final class DocumentTest extends TestCase
{
    private const SECRET = 'the secret of events in these tests';

    private int $posted = 0;

    protected static function serverEnvironment(): array
    {
        return ['YAMABIKO__CHANNELS__CHAT__HISTORY' => '{ messages = 100, age = "2m" }'];
    }

    /** The PHP of a section, without its first line. */
    private static function snippet(string $section, int $number = 0): string
    {
        $page = (string) file_get_contents(dirname(__DIR__, 3).'/docs/laravel.md');
        $text = explode("\n## ", explode("\n## {$section}\n", $page, 2)[1], 2)[0];
        preg_match_all('/^```php\n<\?php\n(.*?)^```$/ms', $text, $blocks);

        return $blocks[1][$number] ?? throw new RuntimeException("no PHP in {$section}");
    }

    /** @param  array<string, mixed>  $variables */
    private function show(string $section, int $number = 0, array $variables = []): void
    {
        extract($variables);
        eval(self::snippet($section, $number));
    }

    public function test_tokens(): void
    {
        $this->show('Tokens');
        $this->app->make('router')->aliasMiddleware('auth', Authenticate::class);
        $this->show('Tokens', 1);
        $user = self::user();
        $ask = function (string $channel, ?User $user): int {
            $this->app->make('auth')->viaRequest('page', fn () => $user);
            $this->app->make('auth')->forgetGuards();

            return $this->app->handle(Request::create("/websocket/token?channel={$channel}"))->getStatusCode();
        };
        $this->assertSame([200, 200, 403, 403, 401], [
            $ask('chat:default', $user),
            $ask('progress:7', $user),
            $ask('progress:8', $user),
            $ask('tweet:', $user),
            $ask('chat:default', null),
        ]);
    }

    public function test_sending(): void
    {
        $page = self::page(Yamabiko::token(self::user(), 'chat:default'));
        $this->show('Sending', 0, ['user' => self::user()]);
        $frames = array_map(fn () => $page->next(), range(1, 6));
        // There is no order between the stream and the other ways.
        usort($frames, fn (array $a, array $b) => json_encode($a['data']) <=> json_encode($b['data']));
        $this->assertSame(
            ['For this user only', 'In the name of a user', 'Once in five minutes', 'Through the ingest stream', 'Hello', null],
            array_map(fn (array $frame) => $frame['data']['message'] ?? null, $frames),
        );
        $this->assertSame(7, $frames[1]['sender']['id']);
        $this->assertSame(['userTyping', ['user' => 7]], [$frames[5]['type'], $frames[5]['data']]);
    }

    public function test_removing_users(): void
    {
        $user = self::user(99);
        $pages = [self::page(Yamabiko::token($user, 'chat:default')), self::page(Yamabiko::token($user, 'tweet:'))];
        $this->show('Removing users', 0, ['user' => $user]);
        foreach ($pages as $page) {
            $this->assertSame(4403, $page->closeCode());
        }
        $this->expectExceptionMessage('revoked');
        // A command that has not arrived yet closes the connection. After the last one, the ban, there is none.
        while (true) {
            $this->assertContains(self::page(Yamabiko::token($user, 'chat:default'))->closeCode(), [4401, 4403]);
        }
    }

    public function test_progress_of_a_job(): void
    {
        $this->show('Progress of a job');
        $page = self::page(Yamabiko::token(self::user(), 'progress:42'));
        (new SampleJob(42, 2))->handle();
        $this->assertSame(
            ['type' => 'sample_job_progress', 'title' => 'Sample job', 'detail' => ['cursor' => 1, 'total' => 2]],
            $page->next()['data']['info'],
        );
    }

    public function test_events(): void
    {
        $this->show('Events');
        Event::listen(MessageReceived::class, RememberMessage::class);
        $this->app->make('events')->dispatch(new MessageReceived('a-1', 1, 'chat:room1', new \Yamabiko\Laravel\Users\User(7, 'Aoi'), ['message' => 'Hello'], null));
        $this->assertSame(['Aoi', 'Hello'], $this->app->make('cache')->get('last-message:chat:room1'));
    }

    public function test_gate(): void
    {
        $this->show('Gate');
        $this->app = $this->application(['yamabiko.events.secret' => self::SECRET]);
        Facade::clearResolvedInstances();
        $this->show('Gate', 1);
        $ask = function (string $uri, string $body): string {
            $time = (string) time();

            return (string) $this->app->handle(Request::create($uri, 'POST', server: [
                'HTTP_YAMABIKO_TIMESTAMP' => $time,
                'HTTP_YAMABIKO_SIGNATURE' => hash_hmac('sha256', "{$time}.{$body}", self::SECRET),
            ], content: $body))->getContent();
        };
        $message = fn (string $text) => '{"channel":"chat:","sender":{"name":"Aoi","id":7},"data":{"message":"'.$text.'","more":{}}}';
        $this->assertSame('{"decision":"allow"}', $ask('/yamabiko/gate', $message('hello')));
        $this->assertSame('{"decision":"rewrite","data":{"message":"****","more":{}}}', $ask('/yamabiko/gate', $message('darn')));
        $this->assertSame('{"decision":"refuse","message":"Links are not allowed here, Aoi."}', $ask('/yamabiko/gate', $message('http')));
        $this->assertSame('', $ask('/yamabiko/webhook', '{"events":[]}'));
        $this->assertInstanceOf(Message::class, Message::fromJson($message('x')));
    }

    public function test_testing(): void
    {
        $this->show('Testing');
        $this->assertSame(1, $this->posted);
    }

    /** What the application of the section "Testing" does. */
    private function post(string $path, array $fields): void
    {
        $this->posted++;
        Yamabiko::channel('chat:default')->send($fields);
    }
}
