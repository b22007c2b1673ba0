<?php

namespace Yamabiko\Laravel\Gate;

use stdClass;

/** What becomes of a message. */
final class Decision
{
    /** @param  array<string, mixed>  $answer */
    private function __construct(private readonly array $answer) {}

    /** The message is published as it is. */
    public static function allow(): self
    {
        return new self(['decision' => 'allow']);
    }

    /** The message is not published. The sender gets the text, or one of the server's. */
    public static function refuse(?string $message = null): self
    {
        return new self(['decision' => 'refuse'] + ($message === null ? [] : ['message' => $message]));
    }

    /**
     * The message is published with this data.
     *
     * @param  stdClass|array<string, mixed>  $data
     */
    public static function rewrite(stdClass|array $data): self
    {
        return new self(['decision' => 'rewrite', 'data' => (object) $data]);
    }

    /** @return array<string, mixed> */
    public function toArray(): array
    {
        return $this->answer;
    }
}
