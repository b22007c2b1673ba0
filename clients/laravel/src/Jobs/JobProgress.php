<?php

namespace Yamabiko\Laravel\Jobs;

use Illuminate\Container\Container;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Support\Str;
use Yamabiko\Laravel\Publishing\PublishException;
use Yamabiko\Laravel\Yamabiko;

/**
 * Tells pages on the channel `progress:ID` how far a job is, as `{info: {type, title, detail: {cursor, total}}}`. For the
 * class SampleJob, the type is `sample_job_progress` and the title "Sample job".
 */
trait JobProgress
{
    /** The ID in the name of the channel: that of a record, or one that the page has chosen. */
    abstract protected function progressId(): int|string;

    protected function progressType(): string
    {
        return Str::snake(class_basename($this)).'_progress';
    }

    protected function progressTitle(): string
    {
        return Str::ucfirst(str_replace('_', ' ', Str::snake(class_basename($this))));
    }

    /**
     * A job does not fail because its progress could not be told.
     *
     * @param  array<string, mixed>  $detail  besides `cursor` and `total`
     */
    protected function progress(int $cursor, int $total, array $detail = []): void
    {
        $app = Container::getInstance();
        try {
            $app->make(Yamabiko::class)->channel("progress:{$this->progressId()}")->send(['info' => [
                'type' => $this->progressType(),
                'title' => $this->progressTitle(),
                'detail' => ['cursor' => $cursor, 'total' => $total] + $detail,
            ]]);
        } catch (PublishException $error) {
            $app->make(ExceptionHandler::class)->report($error);
        }
    }
}
