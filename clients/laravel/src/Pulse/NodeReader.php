<?php

namespace Yamabiko\Laravel\Pulse;

use Illuminate\Http\Client\Factory;
use Illuminate\Http\Client\RequestException;
use UnexpectedValueException;
use Yamabiko\Laravel\Settings;

/** Asks the server's HTTP API for the figures of all nodes. With a key, it needs the scope "read". */
final class NodeReader
{
    public function __construct(
        private readonly Factory $http,
        private readonly Settings $settings,
    ) {}

    /** @throws RequestException */
    public function read(): NodeReading
    {
        $request = $this->http->timeout($this->settings->number('http.timeout'))->acceptJson();
        $key = $this->settings->optionalText('http.key');
        if ($key !== null) {
            $request = $request->withToken($key);
        }
        $answer = $request->get(rtrim($this->settings->text('http.url'), '/').'/api/v1/nodes')->throw();
        $nodes = $answer->json('nodes');
        if (! is_array($nodes)) {
            throw new UnexpectedValueException('The answer of the server has no nodes: is yamabiko.http.url the address of its HTTP API?');
        }
        $missing = $answer->json('missing_nodes');

        return new NodeReading(
            array_map(NodeFigures::from(...), array_values(array_filter($nodes, 'is_array'))),
            is_array($missing) ? array_values(array_filter($missing, 'is_string')) : [],
            hrtime(true) / 1e9,
        );
    }
}
