<?php

namespace Yamabiko\Laravel\Tests;

use Illuminate\Http\Client\ConnectionException;
use Illuminate\Http\Client\RequestException;
use Yamabiko\Laravel\Facades\Yamabiko;
use Yamabiko\Laravel\Pulse\Graph;
use Yamabiko\Laravel\Pulse\NodeFigures;
use Yamabiko\Laravel\Pulse\NodeReader;
use Yamabiko\Laravel\Pulse\NodeReading;
use Yamabiko\Laravel\Tests\Support\Ports;
use Yamabiko\Laravel\Tests\Support\TestCase;

/** What the card for Laravel Pulse is made of. Pulse itself is not in Debian. */
final class PulseTest extends TestCase
{
    private const KEY = 'the-key-of-the-api-for-these-tests';

    protected static function serverEnvironment(): array
    {
        return ['YAMABIKO__API__KEYS' => '[{ name = "pulse", secret = "'.self::KEY.'", scopes = ["read"] }]'];
    }

    /** @param  array<string, string>  $config */
    private function reading(array $config = []): NodeReading
    {
        return $this->application($config + ['yamabiko.http.key' => self::KEY])->make(NodeReader::class)->read();
    }

    public function test_it_reads_connections_channels_and_messages_of_the_server(): void
    {
        $before = $this->reading();
        $this->assertNull($before->messagesPerSecond(null));
        $page = self::page(Yamabiko::token(self::user(), 'chat:pulse'));
        for ($number = 0; $number < 3; $number++) {
            Yamabiko::channel('chat:pulse')->send(['message' => (string) $number]);
            $page->next();
        }
        $after = $this->reading();
        [$node] = $after->nodes;
        $this->assertSame([1, 1, 'ready', []], [$after->connections(), $node->channels, $node->state(), $after->missing]);
        $this->assertSame(gethostname(), $node->host);
        $this->assertEqualsWithDelta(3.0, $after->messagesPerSecond($before) * ($after->at - $before->at), 1e-6);
        $summary = $after->summary(0.2);
        $this->assertSame(['host' => $node->host, 'state' => 'ready', 'connections' => 1, 'channels' => 1], $summary['nodes'][0]);
    }

    public function test_it_uses_the_key_of_the_api_and_says_what_is_wrong(): void
    {
        $this->assertCount(1, $this->reading()->nodes);
        try {
            $this->reading(['yamabiko.http.key' => 'another']);
            $this->fail('a wrong key is accepted');
        } catch (RequestException $error) {
            $this->assertSame(401, $error->response->status());
        }
        $this->expectException(ConnectionException::class);
        $this->reading(['yamabiko.http.url' => 'http://127.0.0.1:'.Ports::free()]);
    }

    public function test_a_rate_is_that_of_the_node_that_has_missed_nothing(): void
    {
        $node = fn (string $name, int $messages) => NodeFigures::from(['name' => $name, 'messages_received' => $messages]);
        $before = new NodeReading([$node('a', 100), $node('b', 7)], [], 10.0);
        // Another node has started meanwhile, and one has lost Redis for a while.
        $after = new NodeReading([$node('a', 130), $node('b', 17), $node('c', 1000)], [], 15.0);
        $this->assertSame(6.0, $after->messagesPerSecond($before));
        $this->assertNull((new NodeReading([$node('c', 5)], [], 15.0))->messagesPerSecond($before), 'all nodes are new');
        $this->assertNull($after->messagesPerSecond($after), 'no time has passed');
    }

    public function test_a_graph_has_gaps_where_nothing_was_recorded(): void
    {
        $graph = Graph::of(['12:00' => null, '12:01' => 5, '12:02' => '10', '12:03' => null, '12:04' => 0]);
        $this->assertSame(10, $graph->highest);
        $this->assertSame('M25.00 50.00h0L50.00 5.00M100.00 95.00h0', $graph->path);
        $this->assertSame([0, ''], [Graph::of([])->highest, Graph::of([null, null])->path]);
    }
}
