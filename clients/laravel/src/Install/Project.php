<?php

namespace Yamabiko\Laravel\Install;

/** The files of the application, and what is done to them. A dry run keeps changes in memory, where later steps see them. */
final class Project
{
    /** @var array<string, string> the contents by file */
    private array $changed = [];

    /** @var list<string> */
    private array $log = [];

    public function __construct(
        private readonly string $basePath,
        private readonly bool $dryRun = false,
    ) {}

    public function has(string $file): bool
    {
        return isset($this->changed[$file]) || is_file("{$this->basePath}/{$file}");
    }

    /** The contents, or an empty text. */
    public function read(string $file): string
    {
        return $this->changed[$file] ?? ($this->has($file) ? (string) file_get_contents("{$this->basePath}/{$file}") : '');
    }

    /** Writes a file, unless it has these contents. */
    public function write(string $file, string $text, string $detail = ''): void
    {
        $exists = $this->has($file);
        if ($exists && $this->read($file) === $text) {
            return;
        }
        $verb = $exists ? 'change' : 'create';
        $this->log[] = ($this->dryRun ? "Would {$verb}" : ucfirst("{$verb}d"))." {$file}".($detail === '' ? '' : ": {$detail}");
        $this->changed[$file] = $text;
        if (! $this->dryRun) {
            $path = "{$this->basePath}/{$file}";
            is_dir(dirname($path)) || mkdir(dirname($path), 0o755, true);
            file_put_contents($path, $text);
        }
    }

    /** Writes a file of this package. One that differs may have been changed by hand, and stays unless it is forced. */
    public function publish(string $file, string $text, bool $force): void
    {
        if ($force || ! $this->has($file)) {
            $this->write($file, $text);
        } elseif ($this->read($file) !== $text) {
            $this->note("Kept {$file}, which differs from that of this package: --force replaces it");
        }
    }

    public function note(string $text): void
    {
        $this->log[] = $text;
    }

    /** @return list<string> what was done */
    public function log(): array
    {
        return $this->log;
    }

    /** Whether this file, or any, was created or changed. */
    public function isChanged(?string $file = null): bool
    {
        return $file === null ? $this->changed !== [] : isset($this->changed[$file]);
    }
}
