<x-pulse::card :cols="$cols" :rows="$rows" :class="$class">
    <x-pulse::card-header
        name="Yamabiko"
        title="Time: {{ number_format($time) }}ms; Run at: {{ $runAt }};"
        details="past {{ $this->periodForHumans() }}"
    >
        <x-slot:icon>
            <x-pulse::icons.arrows-left-right />
        </x-slot:icon>
    </x-pulse::card-header>

    <x-pulse::scroll :expand="$expand" wire:poll.5s="">
        @if ($summary === null)
            <x-pulse::no-results />
        @else
            <div class="grid gap-3 mx-px mb-px">
                @foreach ($graphs as $name => $graph)
                    <div wire:key="{{ $name }}">
                        <h3 class="font-bold text-gray-700 dark:text-gray-300">
                            {{ $name }}:
                            @if ($name === 'Connections')
                                {{ number_format(array_sum(array_column($summary['nodes'], 'connections'))) }}
                            @elseif ($summary['messages_per_second'] === null)
                                –
                            @else
                                {{ number_format($summary['messages_per_second'], $summary['messages_per_second'] < 10 ? 1 : 0) }}
                            @endif
                        </h3>
                        <svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="56" role="img" aria-label="{{ $name }}, highest: {{ $graph->highest }}" class="bg-gray-50 dark:bg-gray-800 rounded-md shadow-sm">
                            <title>Highest: {{ number_format($graph->highest) }}</title>
                            <path d="{{ $graph->path }}" fill="none" stroke="#9333ea" stroke-width="2" stroke-linecap="round" vector-effect="non-scaling-stroke" />
                        </svg>
                    </div>
                @endforeach
            </div>
            @if ($staleSince)
                <p class="mt-2 text-sm text-gray-400 dark:text-gray-600">No figures since {{ $staleSince }}: pulse:check does not run, or the server cannot be reached.</p>
            @endif
            <x-pulse::table>
                <x-pulse::thead>
                    <tr>
                        <x-pulse::th>Node</x-pulse::th>
                        <x-pulse::th>State</x-pulse::th>
                        <x-pulse::th class="text-right">Connections</x-pulse::th>
                        <x-pulse::th class="text-right">Channels</x-pulse::th>
                    </tr>
                </x-pulse::thead>
                <tbody>
                    @foreach ($summary['nodes'] as $node)
                        <tr wire:key="node-{{ $loop->index }}">
                            <x-pulse::td>{{ $node['host'] }}</x-pulse::td>
                            <x-pulse::td>{{ $node['state'] }}</x-pulse::td>
                            <x-pulse::td numeric>{{ number_format($node['connections']) }}</x-pulse::td>
                            <x-pulse::td numeric>{{ number_format($node['channels']) }}</x-pulse::td>
                        </tr>
                    @endforeach
                    @foreach ($summary['missing'] as $name)
                        <tr wire:key="missing-{{ $name }}">
                            <x-pulse::td>{{ $name }}</x-pulse::td>
                            <x-pulse::td colspan="3">does not answer</x-pulse::td>
                        </tr>
                    @endforeach
                </tbody>
            </x-pulse::table>
        @endif
    </x-pulse::scroll>
</x-pulse::card>
