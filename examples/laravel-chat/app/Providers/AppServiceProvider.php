<?php

namespace App\Providers;

use App\Listeners\StoreMessage;
use App\Models\User;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Auth;
use Illuminate\Support\Facades\Event;
use Illuminate\Support\ServiceProvider;
use Yamabiko\Laravel\Events\MessageReceived;

class AppServiceProvider extends ServiceProvider
{
    public function boot(): void
    {
        // Whoever says that they are Aoi is Aoi: this is an example.
        Auth::viaRequest('page', fn (Request $request) => User::all()[$request->cookie('user')] ?? null);
        Event::listen(MessageReceived::class, StoreMessage::class);
    }
}
