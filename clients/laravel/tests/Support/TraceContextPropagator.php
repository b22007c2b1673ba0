<?php

namespace OpenTelemetry\API\Trace\Propagation;

/** What the package and its tests use of the API of OpenTelemetry, which is not in Debian. */
final class TraceContextPropagator
{
    private static ?string $current = null;

    private function __construct(private readonly ?string $traceparent) {}

    public static function getInstance(): self
    {
        return new self(null);
    }

    public function inject(mixed &$carrier): void
    {
        if (self::$current !== null) {
            $carrier['traceparent'] = self::$current;
        }
    }

    public function extract(array $carrier): self
    {
        return new self($carrier['traceparent']);
    }

    public function activate(): self
    {
        self::$current = $this->traceparent;

        return $this;
    }

    public function detach(): int
    {
        self::$current = null;

        return 0;
    }
}
