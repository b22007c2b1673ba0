<?php

// php token.php ID NAME CHANNEL: a token for the browser, made without a library. The secret is in APP_WS_JWT_SECRET.

function base64url(string $bytes): string
{
    return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
}

function token(array $claims, string $secret): string
{
    $signed = base64url(json_encode(['typ' => 'JWT', 'alg' => 'HS256'])).'.'.base64url(json_encode($claims));

    return $signed.'.'.base64url(hash_hmac('sha256', $signed, $secret, true));
}

[, $id, $name, $channel] = $argv;
echo token([
    'id' => (int) $id,
    'name' => $name,
    'channel' => $channel,
    'iat' => time(),
    'exp' => time() + 3600,
], getenv('APP_WS_JWT_SECRET'));
