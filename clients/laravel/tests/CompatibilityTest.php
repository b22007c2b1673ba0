<?php

namespace Yamabiko\Laravel\Tests;

use FilesystemIterator;
use PHPUnit\Framework\TestCase;
use RecursiveDirectoryIterator;
use RecursiveIteratorIterator;
use ReflectionClass;

/** What can be said without running it about other versions of PHP and Laravel than those of Debian. */
final class CompatibilityTest extends TestCase
{
    private const PACKAGE = __DIR__.'/..';

    /** The packages that have the classes of a namespace. */
    private const PACKAGES = [
        'Dotenv\\' => 'vlucas/phpdotenv',
        'GuzzleHttp\\' => 'guzzlehttp/guzzle',
        'Illuminate\\Broadcasting\\' => 'illuminate/broadcasting',
        'Illuminate\\Console\\' => 'illuminate/console',
        'Illuminate\\Container\\' => 'illuminate/container',
        'Illuminate\\Contracts\\' => 'illuminate/contracts',
        'Illuminate\\Http\\' => 'illuminate/http',
        'Illuminate\\Redis\\' => 'illuminate/redis',
        'Illuminate\\Routing\\' => 'illuminate/routing',
        'Illuminate\\Support\\' => 'illuminate/support',
        'Illuminate\\View\\' => 'illuminate/view',
        'Symfony\\Component\\HttpFoundation\\' => 'symfony/http-foundation',
        'Symfony\\Component\\HttpKernel\\' => 'symfony/http-kernel',
        'Symfony\\Component\\Process\\' => 'symfony/process',
    ];

    /** Used only where they are: in an application with laravel/framework, Laravel Pulse, OpenTelemetry or Predis, in its tests, or with the extension. */
    private const OPTIONAL = ['Illuminate\\Foundation\\', 'Laravel\\Pulse\\', 'Livewire\\', 'OpenTelemetry\\', 'PHPUnit\\', 'Predis\\', 'Redis', 'Yamabiko\\Laravel\\'];

    /** @return array<string, string> the PHP of a folder, by file */
    private static function sources(string ...$folders): array
    {
        $sources = [];
        foreach ($folders as $folder) {
            foreach (new RecursiveIteratorIterator(new RecursiveDirectoryIterator($folder, FilesystemIterator::SKIP_DOTS)) as $file) {
                if ($file->getExtension() === 'php' && ! str_contains($file->getPathname(), '/node_modules/') && ! str_contains($file->getPathname(), '/storage/')) {
                    $sources[$file->getPathname()] = (string) file_get_contents($file->getPathname());
                }
            }
        }

        return $sources;
    }

    public function test_every_class_loads_and_no_parameter_is_implicitly_nullable(): void
    {
        $found = 0;
        foreach (self::sources(self::PACKAGE.'/src') as $file => $source) {
            if (str_contains($source, 'use Laravel\\Pulse\\Livewire\\Card;') && str_contains($source, ' extends Card')) {
                continue; // loads only where Laravel Pulse is installed
            }
            $class = 'Yamabiko\\Laravel\\'.strtr(substr($file, strlen(self::PACKAGE.'/src/'), -4), '/', '\\');
            foreach ((new ReflectionClass($class))->getMethods() as $method) {
                if ($method->getFileName() !== realpath($file)) {
                    continue;
                }
                $lines = implode("\n", array_slice(file($file, FILE_IGNORE_NEW_LINES), $method->getStartLine() - 1, $method->getEndLine() - $method->getStartLine() + 1));
                foreach ($method->getParameters() as $parameter) {
                    $found++;
                    if ($parameter->isDefaultValueAvailable() && $parameter->getDefaultValue() === null && $parameter->hasType()) {
                        // PHP 8.4 deprecates `Type $name = null`. Reflection shows a `?` that is not written.
                        $this->assertMatchesRegularExpression(
                            '/(\?[\w\\\\]+|\bnull\b[\w|\\\\]*|\bmixed) \$'.$parameter->getName().' = null/',
                            $lines,
                            "{$class}::{$method->getName()}(\${$parameter->getName()})",
                        );
                    }
                }
            }
        }
        $this->assertGreaterThan(100, $found);
    }

    public function test_composer_json_requires_the_packages_of_all_namespaces(): void
    {
        $composer = json_decode((string) file_get_contents(self::PACKAGE.'/composer.json'), true, 512, JSON_THROW_ON_ERROR);
        $used = [];
        foreach (self::sources(self::PACKAGE.'/src', self::PACKAGE.'/config') as $source) {
            preg_match_all('/^use ([A-Z]\w*(?:\\\\\w+)*)/m', $source, $imports);
            preg_match_all('/(?<![\w\\\\])\\\\([A-Z]\w+(?:\\\\[A-Z]\w+)+)/', $source, $written);
            array_push($used, ...$imports[1], ...$written[1]);
        }
        foreach (array_unique($used) as $class) {
            $begins = fn (string $namespace) => str_starts_with("{$class}\\", $namespace);
            if (! str_contains($class, '\\') || array_filter(self::OPTIONAL, $begins) !== []) {
                continue;
            }
            [$package] = [...array_values(array_filter(self::PACKAGES, $begins, ARRAY_FILTER_USE_KEY)), null];
            $this->assertArrayHasKey((string) $package, $composer['require'], "{$class} is in no package that composer.json requires");
        }
        foreach ($composer['require'] as $package => $versions) {
            if (str_starts_with($package, 'illuminate/')) {
                $this->assertSame('^10.0|^11.0|^12.0|^13.0', $versions, $package);
            }
        }
    }
}
