<?php

namespace Yamabiko\Laravel\Console;

use Illuminate\Console\Command;
use Illuminate\Http\Client\ConnectionException;
use Illuminate\Http\Client\Factory;
use Yamabiko\Laravel\Settings;

/** Makes the server take over changes of .env. No connection is closed. Workers follow queue:restart. */
class ReloadCommand extends Command
{
    protected $signature = 'yamabiko:reload';

    protected $description = 'Let the server take over changed settings, without closing a connection';

    public function handle(Factory $http, Settings $settings): int
    {
        $url = $settings->text('http.url');
        $request = $http->timeout($settings->number('http.timeout'))->acceptJson();
        if ($settings->optionalText('http.key') !== null) {
            $request->withToken($settings->text('http.key'));
        }
        try {
            $answer = $request->post(rtrim($url, '/').'/api/v1/reload');
        } catch (ConnectionException) {
            $this->error("The server cannot be reached at {$url}.");

            return self::FAILURE;
        }
        if (! $answer->successful()) {
            $detail = $answer->json('detail');
            $this->error("The server answered {$answer->status()}".(is_string($detail) ? ": {$detail}" : ''));

            return self::FAILURE;
        }
        /** @var array{reloaded: list<string>, pending: list<array{setting: string, reason: string}>} $report */
        $report = $answer->json();
        foreach ($report['reloaded'] as $setting) {
            $this->line("{$setting}: in force");
        }
        foreach ($report['pending'] as ['setting' => $setting, 'reason' => $reason]) {
            $this->line("{$setting}: needs a restart, because {$reason}");
        }
        $this->info('The settings are reloaded.');

        return self::SUCCESS;
    }
}
