<?php

namespace Yamabiko\Laravel\Tests;

use PHPUnit\Framework\AssertionFailedError;
use Yamabiko\Laravel\Facades\Yamabiko;
use Yamabiko\Laravel\Message;
use Yamabiko\Laravel\Tests\Support\SampleJob;
use Yamabiko\Laravel\Tests\Support\TestCase;

/** What an application tests with, and the progress of jobs. */
final class FakeTest extends TestCase
{
    public function test_the_fake_sends_nothing_and_asserts(): void
    {
        $page = self::page(Yamabiko::token(self::user(), 'chat:fake'));
        $fake = Yamabiko::fake();
        Yamabiko::assertNothingSent();
        Yamabiko::channel('chat:fake')->as(self::user())->send(['message' => 'hello']);
        Yamabiko::channel('chat:fake')->to(self::user(12))->durably()->send(['message' => 'for Haru']);
        Yamabiko::disconnect(self::user(), 'chat:fake');
        Yamabiko::logOut(self::user(12));
        $this->assertNotSame('', Yamabiko::token(self::user(), 'chat:'));

        Yamabiko::assertSent('chat:fake', fn (Message $message) => $message->data['message'] === 'hello' && $message->sender?->id === 7);
        Yamabiko::assertSentTo(12, 'chat:fake');
        Yamabiko::assertNotSent('chat:other');
        Yamabiko::assertSentTimes('chat:fake', 2);
        Yamabiko::assertDisconnected(7, 'chat:fake');
        Yamabiko::assertRevoked(12);
        $wrong = [
            fn () => Yamabiko::assertSent('chat:other'),
            fn () => Yamabiko::assertSentTo(7, 'chat:fake'),
            fn () => Yamabiko::assertNotSent('chat:fake'),
            fn () => Yamabiko::assertSentTimes('chat:fake', 1),
            fn () => Yamabiko::assertNothingSent(),
            fn () => Yamabiko::assertDisconnected(7),
            fn () => Yamabiko::assertRevoked(7),
        ];
        foreach ($wrong as $index => $assertion) {
            try {
                $assertion();
            } catch (AssertionFailedError) {
                $this->addToAssertionCount(1);

                continue;
            }
            $this->fail("assertion {$index} holds");
        }
        $this->assertCount(2, $fake->sent('chat:fake'));

        // Nothing of it went out: this is the first message that the page gets.
        $this->application();
        Yamabiko::channel('chat:fake')->send(['message' => 'real']);
        $this->assertSame('real', $page->next()['data']['message']);
    }

    public function test_a_job_tells_its_progress(): void
    {
        $page = self::page(Yamabiko::token(self::user(), 'progress:42'));
        (new SampleJob(42, 2))->handle();
        foreach ([1, 2] as $cursor) {
            $this->assertSame(['info' => [
                'type' => 'sample_job_progress',
                'title' => 'Sample job',
                'detail' => ['cursor' => $cursor, 'total' => 2],
            ]], $page->next()['data']);
        }
    }

    public function test_a_job_does_not_fail_when_redis_is_away(): void
    {
        $this->application(['database.redis.default' => ['host' => '127.0.0.1', 'port' => 1]]);
        $this->assertSame(2, (new SampleJob(42, 2))->handle());
    }
}
