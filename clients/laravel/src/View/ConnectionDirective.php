<?php

namespace Yamabiko\Laravel\View;

use Illuminate\Container\Container;
use Illuminate\Contracts\Auth\Factory as Auth;
use Illuminate\View\Compilers\BladeCompiler;
use Yamabiko\Laravel\Yamabiko;

/** `@yamabiko('chat:default')`: what the page needs to connect as its user, as a JavaScript object; null for guests. */
final class ConnectionDirective
{
    public static function register(BladeCompiler $blade): void
    {
        $blade->directive('yamabiko', fn (string $arguments) => '<?php echo '.self::class."::render({$arguments}); ?>");
    }

    public static function render(string $channel, mixed $user = null): string
    {
        $app = Container::getInstance();
        $user ??= $app->make(Auth::class)->guard()->user();

        return json_encode(
            $user === null ? null : $app->make(Yamabiko::class)->connection($user, $channel),
            JSON_THROW_ON_ERROR | JSON_HEX_TAG | JSON_HEX_AMP | JSON_HEX_APOS | JSON_HEX_QUOT,
        );
    }
}
