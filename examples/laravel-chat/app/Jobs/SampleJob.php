<?php

namespace App\Jobs;

use Yamabiko\Laravel\Jobs\JobProgress;

/** In an application, it implements ShouldQueue and is dispatched to a queue. */
class SampleJob
{
    use JobProgress;

    public function __construct(
        private readonly int|string $id,
        private readonly int $total,
    ) {}

    public function handle(): void
    {
        for ($cursor = 1; $cursor <= $this->total; $cursor++) {
            usleep(20_000); // one step of the work
            $this->progress($cursor, $this->total);
        }
    }

    protected function progressId(): int|string
    {
        return $this->id;
    }
}
