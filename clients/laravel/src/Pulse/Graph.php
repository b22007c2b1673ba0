<?php

namespace Yamabiko\Laravel\Pulse;

/** A line of readings in a box of 100 by 100, as an SVG path. No script draws it. The stroke needs some room above and below. */
final class Graph
{
    private function __construct(
        public readonly int $highest,
        public readonly string $path,
    ) {}

    /** @param  iterable<int|float|numeric-string|null>  $readings  null where there is none: the line has a gap */
    public static function of(iterable $readings): self
    {
        $readings = array_values([...$readings]);
        $highest = (int) max([0, ...array_map(fn ($reading) => (float) $reading, $readings)]);
        $step = 100 / max(1, count($readings) - 1);
        $path = '';
        $isDrawing = false;
        foreach ($readings as $index => $reading) {
            if ($reading !== null) {
                $y = 95 - 90 * (float) $reading / max(1, $highest);
                // A line of no length is a dot: there may be one reading between gaps.
                $path .= sprintf($isDrawing ? 'L%.2F %.2F' : 'M%.2F %.2Fh0', $index * $step, $y);
            }
            $isDrawing = $reading !== null;
        }

        return new self($highest, $path);
    }
}
