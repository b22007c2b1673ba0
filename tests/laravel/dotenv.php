<?php

// php dotenv.php < LIST: what phpdotenv, with which Laravel reads .env files, makes of each text of a JSON list: the value
// of VALUE as base64, or null where it refuses the text.

require 'Dotenv/autoload.php';

echo json_encode(array_map(function (string $text) {
    try {
        // As Laravel has it, what the process has is not overwritten: here that is $HOME.
        $process = Dotenv\Repository\Adapter\ArrayAdapter::create()->get();
        $process->write('HOME', '/root');
        $repository = Dotenv\Repository\RepositoryBuilder::createWithNoAdapters()
            ->addAdapter($process)->immutable()->make();
        $entries = (new Dotenv\Parser\Parser)->parse($text);
        (new Dotenv\Loader\Loader)->load($repository, $entries);

        return $repository->has('VALUE') ? base64_encode($repository->get('VALUE')) : '';
    } catch (Dotenv\Exception\InvalidFileException) {
        return null;
    }
}, json_decode(stream_get_contents(STDIN), true)));
