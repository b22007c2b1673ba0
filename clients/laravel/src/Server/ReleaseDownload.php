<?php

namespace Yamabiko\Laravel\Server;

use Illuminate\Http\Client\ConnectionException;
use Illuminate\Http\Client\Factory;
use Illuminate\Http\Client\Response;
use Yamabiko\Laravel\Settings;

/** Downloads the binary of a release for this platform, and checks its checksum before anything of it is run. */
final class ReleaseDownload
{
    private const SECONDS = 300;

    public function __construct(
        private readonly Settings $settings,
        private readonly Factory $http,
    ) {}

    /**
     * @param  callable(string): void  $tell
     * @return string the path of the binary
     *
     * @throws ServerException
     */
    public function to(string $path, string $version, callable $tell): string
    {
        $releases = $this->releases($version);
        $name = "yamabiko-{$version}-".self::platform();
        $folder = dirname($path);
        if (! is_dir($folder) && ! mkdir($folder, 0o755, true)) {
            throw new ServerException("The folder {$folder} cannot be created.");
        }
        $archive = "{$folder}/{$name}.tar.gz";
        $tell("Downloading {$name}.tar.gz");
        try {
            $sum = $this->checksum($this->get("{$releases}/SHA256SUMS")->body(), "{$name}.tar.gz");
            $this->get("{$releases}/{$name}.tar.gz", $archive);
            $this->check($archive, $sum);
            self::unpack("phar://{$archive}/{$name}/yamabiko", $path);
        } finally {
            array_map('unlink', array_filter([$archive, "{$path}.part"], 'file_exists'));
        }

        return $path;
    }

    /** The folder of the release. It has no default: this package does not choose for you where programs come from. */
    private function releases(string $version): string
    {
        $url = $this->settings->optionalText('server.releases') ?? throw new ServerException(self::missing($version));
        $url = rtrim(str_replace('{version}', $version, $url), '/');
        $host = parse_url($url, PHP_URL_HOST);
        $isLocal = in_array($host, ['localhost', '127.0.0.1', '[::1]'], true);
        // Over HTTP, whoever can change the archive can change SHA256SUMS too.
        if (parse_url($url, PHP_URL_SCHEME) !== 'https' && ! $isLocal && $this->settings->optionalText('server.sha256') === null) {
            throw new ServerException('YAMABIKO_RELEASES_URL must begin with https://, or YAMABIKO_SHA256 be the checksum of the archive.');
        }

        return $url;
    }

    private static function missing(string $version): string
    {
        return <<<TEXT
            There is no binary yamabiko in vendor/bin or in PATH. Do one of these, and start again:
              - Put the binary of version {$version} into PATH: from the archive or the Debian package of the release, or from the
                sources with cargo install --path . --locked
              - YAMABIKO_BINARY=/path/to/yamabiko in .env, if it is elsewhere
              - YAMABIKO_RELEASES_URL=https://github.com/OWNER/REPOSITORY/releases/download/v{version} in .env: the archive for this
                machine is downloaded from there, and installed if its checksum is that of SHA256SUMS
            TEXT;
    }

    private static function unpack(string $binary, string $path): void
    {
        if (! extension_loaded('phar') || ! extension_loaded('zlib')) {
            throw new ServerException('The archive cannot be unpacked: PHP needs the extensions phar and zlib.');
        }
        // Renamed when it is whole, so that no one runs a part of it.
        if (! copy($binary, "{$path}.part") || ! chmod("{$path}.part", 0o755) || ! rename("{$path}.part", $path)) {
            throw new ServerException("The binary cannot be written to {$path}.");
        }
    }

    private static function platform(): string
    {
        $machine = match (php_uname('m')) {
            'x86_64', 'amd64' => 'x86_64',
            'aarch64', 'arm64' => 'aarch64',
            default => php_uname('m'),
        };
        if (PHP_OS_FAMILY !== 'Linux' || ! in_array($machine, ['x86_64', 'aarch64'], true)) {
            throw new ServerException('Releases have no binary for '.PHP_OS_FAMILY." on {$machine}: build it from the sources, and set YAMABIKO_BINARY to its path.");
        }

        return "linux-{$machine}";
    }

    private function get(string $url, ?string $sink = null): Response
    {
        try {
            $answer = $this->http->timeout(self::SECONDS)->withOptions([
                'allow_redirects' => ['protocols' => [(string) parse_url($url, PHP_URL_SCHEME), 'https']],
                ...($sink === null ? [] : ['sink' => $sink]),
            ])->get($url);
        } catch (ConnectionException $error) {
            throw new ServerException("{$url} cannot be downloaded: {$error->getMessage()}", 0, $error);
        }

        return $answer->successful() ? $answer : throw new ServerException("{$url} cannot be downloaded: the answer is {$answer->status()}.");
    }

    private function checksum(string $sums, string $file): string
    {
        if (preg_match('/^([0-9a-f]{64})[ *]+'.preg_quote($file, '/').'$/m', $sums, $match) !== 1) {
            throw new ServerException("SHA256SUMS has no checksum of {$file}.");
        }

        return $match[1];
    }

    private function check(string $archive, string $expected): void
    {
        $sum = (string) hash_file('sha256', $archive);
        foreach ([$expected, $this->settings->optionalText('server.sha256') ?? $expected] as $wanted) {
            if (! hash_equals($wanted, $sum)) {
                throw new ServerException('The checksum of '.basename($archive)." is {$sum} instead of {$wanted}: it was not installed.");
            }
        }
    }
}
