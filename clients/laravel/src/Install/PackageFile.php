<?php

namespace Yamabiko\Laravel\Install;

use stdClass;

/** The package.json of the application, which is written in npm's own way. */
final class PackageFile
{
    public const FILE = 'package.json';

    /** @return array<string> the versions of what it depends on, by name */
    public static function packages(Project $project): array
    {
        $package = json_decode($project->read(self::FILE), true);
        $packages = is_array($package) ? (array) ($package['dependencies'] ?? []) + (array) ($package['devDependencies'] ?? []) : [];

        return array_filter($packages, 'is_string');
    }

    public static function add(Project $project, string $name, string $version): void
    {
        $text = $project->read(self::FILE);
        $package = json_decode($text);
        if (! $package instanceof stdClass) {
            $project->note('To do: '.self::FILE." cannot be read; add {$name} {$version} to it");

            return;
        }
        $packages = (array) ($package->devDependencies ?? []) + [$name => $version];
        ksort($packages);
        $package->devDependencies = $packages;
        $json = json_encode($package, JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR);
        $indent = preg_match('/^\{\s*?\n([ \t]+)"/', $text, $match) === 1 ? $match[1] : '    ';
        $json = (string) preg_replace_callback('/^(?: {4})+/m', fn (array $spaces) => str_repeat($indent, intdiv(strlen($spaces[0]), 4)), $json);
        $project->write(self::FILE, "{$json}\n", "{$name} {$version}");
    }

    /** The command that installs what it depends on. */
    public static function installCommand(Project $project): string
    {
        return match (true) {
            $project->has('pnpm-lock.yaml') => 'pnpm install',
            $project->has('yarn.lock') => 'yarn install',
            $project->has('bun.lock'), $project->has('bun.lockb') => 'bun install',
            default => 'npm install',
        };
    }
}
