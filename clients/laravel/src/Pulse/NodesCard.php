<?php

namespace Yamabiko\Laravel\Pulse;

use Illuminate\Contracts\Support\Renderable;
use Illuminate\Support\Carbon;
use Illuminate\Support\Collection;
use Illuminate\Support\Facades\View;
use Laravel\Pulse\Livewire\Card;
use Livewire\Attributes\Lazy;

/** The card of Laravel Pulse: connections, channels and messages per second. */
#[Lazy]
class NodesCard extends Card
{
    /** Seconds without a reading after which the server counts as unreachable. */
    private const STALE = 60;

    public function render(): Renderable
    {
        [$figures, $time, $runAt] = $this->remember(fn () => [
            $this->values(NodesRecorder::NODES, [NodesRecorder::KEY])->first(),
            $this->graph([NodesRecorder::CONNECTIONS, NodesRecorder::MESSAGES], 'max')->get(NodesRecorder::KEY),
        ]);
        /** @var array{object{timestamp: int, key: string, value: string}|null, Collection<string, Collection<string, int|null>>|null} $figures */
        [$latest, $graph] = $figures;
        $summary = json_decode($latest->value ?? 'null', true);

        return View::make('yamabiko::pulse.nodes', [
            'summary' => is_array($summary) ? $summary : null,
            'staleSince' => $latest !== null && time() - $latest->timestamp > self::STALE ? Carbon::createFromTimestamp($latest->timestamp)->toDateTimeString() : null,
            'graphs' => [
                'Connections' => Graph::of($graph?->get(NodesRecorder::CONNECTIONS) ?? []),
                'Messages per second' => Graph::of($graph?->get(NodesRecorder::MESSAGES) ?? []),
            ],
            'time' => $time,
            'runAt' => $runAt,
        ]);
    }
}
