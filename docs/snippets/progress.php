<?php
// A job that reports its progress. The page has a token for the channel progress:ID.

namespace App\Jobs;

use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Foundation\Queue\Queueable;
use Illuminate\Support\Facades\Redis;

class SampleJob implements ShouldQueue
{
    use Queueable;

    public function __construct(private int $id, private int $total) {}

    public function handle(): void
    {
        for ($cursor = 1; $cursor <= $this->total; $cursor++) {
            // … do one step of the work …

            Redis::publish('broadcast', json_encode([
                'channel' => "progress:{$this->id}",
                'data' => [
                    'info' => [
                        'type' => 'sample_job_progress',
                        'title' => 'Sample job',
                        'detail' => ['cursor' => $cursor, 'total' => $this->total],
                    ],
                ],
            ], JSON_THROW_ON_ERROR));
        }
    }
}
