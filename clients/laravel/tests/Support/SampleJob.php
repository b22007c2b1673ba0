<?php

namespace Yamabiko\Laravel\Tests\Support;

use Yamabiko\Laravel\Jobs\JobProgress;

final class SampleJob
{
    use JobProgress;

    public function __construct(private readonly int $id, private readonly int $total) {}

    public function handle(): int
    {
        for ($cursor = 1; $cursor <= $this->total; $cursor++) {
            $this->progress($cursor, $this->total);
        }

        return $this->total;
    }

    protected function progressId(): int
    {
        return $this->id;
    }
}
