<?php

namespace Yamabiko\Laravel\Server;

use Symfony\Component\Process\ExecutableFinder;
use Yamabiko\Laravel\Settings;

/** Finds the server's binary on this machine, or downloads it. */
final class BinaryLocator
{
    public function __construct(
        private readonly Settings $settings,
        private readonly ReleaseDownload $download,
    ) {}

    /**
     * @param  callable(string): void  $tell
     *
     * @throws ServerException
     */
    public function locate(string $basePath, string $storagePath, callable $tell): string
    {
        $binary = $this->settings->optionalText('server.binary');
        if ($binary !== null) {
            return is_executable($binary) ? $binary : throw new ServerException("YAMABIKO_BINARY is {$binary}, which cannot be executed.");
        }
        $vendor = "{$basePath}/vendor/bin/yamabiko";
        if (is_executable($vendor)) {
            return $vendor;
        }
        $version = $this->settings->text('server.version');
        $downloaded = "{$storagePath}/app/yamabiko/{$version}/yamabiko";

        return (new ExecutableFinder)->find('yamabiko')
            ?? (is_executable($downloaded) ? $downloaded : null)
            ?? $this->download->to($downloaded, $version, $tell);
    }
}
