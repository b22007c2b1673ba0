<?php

namespace Yamabiko\Laravel\Tests;

use Illuminate\Http\Request;
use Illuminate\Support\Facades\Route;
use Yamabiko\Laravel\Facades\Yamabiko;
use Yamabiko\Laravel\Tests\Support\TestCase;

/** The token route, its rules and the Blade directive. */
final class TokenRouteTest extends TestCase
{
    private function ask(string $query, mixed $user): array
    {
        $request = Request::create("/websocket/token{$query}", 'GET', server: ['HTTP_ACCEPT' => 'application/json']);
        $this->signIn($user);
        $answer = $this->app->handle($request);

        return [$answer->getStatusCode(), json_decode((string) $answer->getContent(), true), $answer];
    }

    private function signIn(mixed $user): void
    {
        $this->app->make('auth')->viaRequest('page', fn () => $user);
        $this->app->make('auth')->forgetGuards();
        $this->app->instance('request', Request::create('/'));
    }

    public function test_the_route_signs_for_whom_a_rule_admits(): void
    {
        Route::yamabikoToken();
        Yamabiko::authorize('chat:{room}', fn ($user, string $room) => $room !== 'staff' || $user->id === 1);
        Yamabiko::authorize('板/a.b:{board},{card}', fn ($user, string $board, string $card) => [$board, $card] === ['山.1', '2']);
        Yamabiko::authorize('progress:{id}', fn ($user, string $id) => $user->id === (int) $id);

        [$status, $body, $answer] = $this->ask('?channel=chat:default', self::user());
        $this->assertSame([200, 'ws://127.0.0.1:'.self::$server->port.'/ws'], [$status, $body['url']]);
        $this->assertStringContainsString('no-store', (string) $answer->headers->get('Cache-Control'));
        $page = self::page($body['token']);
        Yamabiko::channel('chat:default')->send(['message' => 'hello']);
        $this->assertSame(['message' => 'hello'], $page->next()['data']);

        foreach (['?channel=chat:staff', '?channel=progress:8', '?channel=tweet:', '?channel=chat:default,staff', '?channel=xchat:default', '?channel=chat:'] as $query) {
            $this->assertSame(403, $this->ask($query, self::user())[0], $query);
        }
        $this->assertSame(200, $this->ask('?channel=progress:7', self::user())[0]);
        $this->assertSame(200, $this->ask('?channel='.urlencode('板/a.b:山.1,2'), self::user())[0]);
        $this->assertSame(403, $this->ask('?channel='.urlencode('板/axb:山.1,2'), self::user())[0]);
        $this->assertSame(403, $this->ask('?channel=chat:default', null)[0]);
        foreach (['', '?channel=', '?channel[]=chat:default', '?channel=chat:%0a', '?channel=%ff'] as $query) {
            $this->assertSame(422, $this->ask($query, self::user())[0], $query);
        }
    }

    public function test_users_are_what_identify_using_says(): void
    {
        Yamabiko::identifyUsing(fn ($user) => ['id' => $user->uuid, 'name' => $user->handle]);
        $page = self::page(Yamabiko::token((object) ['uuid' => '01J9', 'handle' => '@aoi'], 'chat:'));
        $page->send(['data' => ['message' => 'x']]);
        $page->next();
        $this->assertSame(['name' => '@aoi', 'id' => '01J9'], $page->next()['sender']);
    }

    public function test_the_blade_directive_renders_what_the_page_needs(): void
    {
        mkdir("{$this->folder}/resources/views", recursive: true);
        file_put_contents("{$this->folder}/resources/views/page.blade.php", "const connection = @yamabiko('chat:'.\$room);");
        $this->signIn(self::user(7, '</script>'));
        $html = $this->app->make('view')->make('page', ['room' => 'default'])->render();
        $this->assertMatchesRegularExpression('/^const connection = \{.*\};$/', trim($html));
        $connection = json_decode(trim(substr(trim($html), strlen('const connection = ')), ';'), true, 512, JSON_THROW_ON_ERROR);
        self::page($connection['token']);
        $this->assertStringNotContainsString('<', $html);

        $this->signIn(null);
        $this->assertSame('const connection = null;', trim($this->app->make('view')->make('page', ['room' => 'x'])->render()));
    }

    public function test_a_missing_secret_says_what_to_set(): void
    {
        $this->application(['yamabiko.tokens.secret' => null]);
        $this->expectExceptionMessage('APP_WS_JWT_SECRET');
        Yamabiko::token(self::user(), 'chat:');
    }
}
