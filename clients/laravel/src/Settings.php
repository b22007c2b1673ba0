<?php

namespace Yamabiko\Laravel;

use Illuminate\Contracts\Config\Repository;
use InvalidArgumentException;

/** The values of config/yamabiko.php, with their types. */
final class Settings
{
    public function __construct(private readonly Repository $config) {}

    public function text(string $key): string
    {
        return $this->optionalText($key) ?? throw new InvalidArgumentException("yamabiko.{$key} is not set.");
    }

    public function optionalText(string $key): ?string
    {
        $value = $this->config->get("yamabiko.{$key}");

        return is_scalar($value) && (string) $value !== '' ? (string) $value : null;
    }

    public function number(string $key): int
    {
        $value = $this->config->get("yamabiko.{$key}");

        return is_numeric($value) ? (int) $value : throw new InvalidArgumentException("yamabiko.{$key} is not a number.");
    }

    /** The prefix that Laravel puts before keys and channels of Redis. */
    public function redisPrefix(): string
    {
        $prefix = $this->config->get('database.redis.options.prefix');

        return is_string($prefix) ? $prefix : '';
    }
}
