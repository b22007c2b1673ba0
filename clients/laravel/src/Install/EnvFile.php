<?php

namespace Yamabiko\Laravel\Install;

/** The text of a .env file, of which only the lines change that are set. */
final class EnvFile
{
    public function __construct(private string $text) {}

    public function text(): string
    {
        return $this->text;
    }

    /** The value as it is written, or null if it is empty or there is none. */
    public function get(string $name): ?string
    {
        preg_match($this->line($name), $this->text, $match);
        $value = trim($match[1] ?? '', " \t\r\"'");

        return $value === '' || $value === 'null' ? null : $value;
    }

    public function has(string $name): bool
    {
        return preg_match($this->line($name), $this->text) === 1;
    }

    public function set(string $name, string $value): void
    {
        $line = "{$name}={$value}";
        if ($this->has($name)) {
            $this->text = (string) preg_replace_callback($this->line($name), fn () => $line, $this->text, 1);

            return;
        }
        $this->text .= ($this->text === '' || str_ends_with($this->text, "\n") ? '' : "\n")."{$line}\n";
    }

    /**
     * Adds what has no value yet.
     *
     * @param  array<string, string>  $values
     * @return list<string> the names of what was added
     */
    public function fill(array $values): array
    {
        $missing = array_filter($values, fn (string $name) => $this->get($name) === null, ARRAY_FILTER_USE_KEY);
        if (array_filter(array_keys($missing), fn (string $name) => ! $this->has($name)) !== [] && $this->text !== '') {
            $this->text = rtrim($this->text, "\n")."\n\n";
        }
        foreach ($missing as $name => $value) {
            $this->set($name, $value);
        }

        return array_keys($missing);
    }

    private function line(string $name): string
    {
        return '/^'.preg_quote($name, '/').'=(.*)$/m';
    }
}
