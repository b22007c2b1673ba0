<?php

// php dotenv.php < LIST: what phpdotenv, with which Laravel reads .env files, makes of each text of a JSON list: the value
// of VALUE as base64, or null where it refuses the text.

require 'Dotenv/autoload.php';

putenv('HOME=/root');
$_SERVER['HOME'] = $_ENV['HOME'] = '/root';

echo json_encode(array_map(function (string $text) {
    try {
        // The repository of Laravel: what the process has is not overwritten, and $HOME is known.
        $repository = Dotenv\Repository\RepositoryBuilder::createWithNoAdapters()
            ->addAdapter(Dotenv\Repository\Adapter\ArrayAdapter::class)->make();
        $repository->set('HOME', '/root');
        $entries = (new Dotenv\Parser\Parser)->parse($text);
        (new Dotenv\Loader\Loader)->load($repository, $entries);

        return $repository->has('VALUE') ? base64_encode($repository->get('VALUE')) : '';
    } catch (Dotenv\Exception\InvalidFileException) {
        return null;
    }
}, json_decode(stream_get_contents(STDIN), true)));
