<?php

namespace Yamabiko\Laravel\Tokens;

use InvalidArgumentException;
use SensitiveParameter;
use Yamabiko\Laravel\ChannelName;
use Yamabiko\Laravel\Users\User;

/** Signs the JSON Web Tokens with which pages connect to native channels. */
final class TokenIssuer
{
    private const ALGORITHMS = ['HS256' => 'sha256', 'HS384' => 'sha384', 'HS512' => 'sha512'];

    public function __construct(
        #[SensitiveParameter]
        private readonly ?string $secret,
        private readonly string $algorithm = 'HS256',
        private readonly ?string $kid = null,
        private readonly int $ttl = 3600,
    ) {}

    /** @param  array<string, mixed>  $claims  further claims, such as `jti`, under which the token can be revoked */
    public function issue(User $user, string $channel, ?int $ttl = null, array $claims = []): string
    {
        if ($this->secret === null || $this->secret === '') {
            throw new InvalidArgumentException('Tokens cannot be signed: set APP_WS_JWT_SECRET in .env, as yamabiko:install does.');
        }
        $hash = self::ALGORITHMS[$this->algorithm]
            ?? throw new InvalidArgumentException("The package signs with HS256, HS384 or HS512, not with {$this->algorithm}.");
        $now = time();
        $header = ['typ' => 'JWT', 'alg' => $this->algorithm] + ($this->kid === null ? [] : ['kid' => $this->kid]);
        $payload = $user->toArray() + ['channel' => ChannelName::check($channel), 'iat' => $now, 'exp' => $now + ($ttl ?? $this->ttl)] + $claims;
        $signed = self::encode(self::json($header)).'.'.self::encode(self::json($payload));

        return $signed.'.'.self::encode(hash_hmac($hash, $signed, $this->secret, true));
    }

    /** @param  array<string, mixed>  $value */
    private static function json(array $value): string
    {
        return json_encode($value, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
    }

    private static function encode(string $bytes): string
    {
        return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
    }
}
