<?php

namespace Yamabiko\Laravel\Install;

/** A .env file, of which only the lines change that are set. */
final class EnvFile
{
    private string $text;

    public function __construct(private readonly string $path)
    {
        $this->text = is_file($path) ? (string) file_get_contents($path) : '';
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

    public function save(): void
    {
        file_put_contents($this->path, $this->text);
    }

    private function line(string $name): string
    {
        return '/^'.preg_quote($name, '/').'=(.*)$/m';
    }
}
