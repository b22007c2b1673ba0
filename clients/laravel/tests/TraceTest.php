<?php

namespace Yamabiko\Laravel\Tests;

use OpenTelemetry\API\Trace\Propagation\TraceContextPropagator;
use Yamabiko\Laravel\Facades\Yamabiko;
use Yamabiko\Laravel\Publishing\Trace;
use Yamabiko\Laravel\Tests\Support\TestCase;

/** What the package publishes belongs to the trace of the application, up to the spans that the server sends. */
final class TraceTest extends TestCase
{
    private const SECONDS = 20;

    /** @var resource where the server sends its spans */
    private static $collector;

    public static function setUpBeforeClass(): void
    {
        if (! class_exists(TraceContextPropagator::class)) {
            require_once __DIR__.'/Support/TraceContextPropagator.php';
        }
        self::$collector = stream_socket_server('tcp://127.0.0.1:0');
        parent::setUpBeforeClass();
    }

    protected static function serverEnvironment(): array
    {
        return [
            'YAMABIKO__CHANNELS__CHAT__HISTORY' => '{ messages = 100, age = "2m" }',
            'YAMABIKO__TRACING__ENDPOINT' => 'http://'.stream_socket_get_name(self::$collector, false),
        ];
    }

    public function test_the_trace_is_continued_over_every_way(): void
    {
        $page = self::page(Yamabiko::token(self::user(), 'chat:traced'));
        foreach (['redis', 'stream', 'http'] as $via) {
            $trace = bin2hex(random_bytes(16));
            $context = TraceContextPropagator::getInstance()->extract(['traceparent' => "00-{$trace}-00f067aa0ba902b7-01"]);
            $scope = $context->activate();
            Yamabiko::channel('chat:traced')->via($via)->send(['message' => $via]);
            $scope->detach();
            $this->assertSame(['message' => $via], $page->next()['data']);
            $this->assertStringContainsString(hex2bin($trace), self::spans(), $via);
        }
    }

    public function test_without_a_trace_nothing_is_added(): void
    {
        $this->assertSame([], Trace::current());
    }

    /** The next request of the server, which is answered. */
    private static function spans(): string
    {
        $connection = stream_socket_accept(self::$collector, self::SECONDS);
        stream_set_timeout($connection, self::SECONDS);
        $length = 0;
        while (($line = trim((string) fgets($connection))) !== '') {
            if (stripos($line, 'content-length:') === 0) {
                $length = (int) substr($line, strlen('content-length:'));
            }
        }
        $body = stream_get_contents($connection, $length);
        fwrite($connection, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        fclose($connection);

        return $body;
    }
}
