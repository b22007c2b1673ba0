<?php

namespace Yamabiko\Laravel\Publishing;

use OpenTelemetry\API\Trace\Propagation\TraceContextPropagator;

/** The trace in which a message is published, if the application uses OpenTelemetry. The server continues it. */
final class Trace
{
    /** @return array<string, string> `traceparent`, or nothing */
    public static function current(): array
    {
        if (! class_exists(TraceContextPropagator::class)) {
            return [];
        }
        $carrier = [];
        TraceContextPropagator::getInstance()->inject($carrier);

        /** @var array<string, string> $carrier */
        return array_intersect_key($carrier, ['traceparent' => true]);
    }
}
