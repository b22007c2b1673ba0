@extends('layout')
@section('title', "Room {$room}")
@section('content')
<p>{{ $user->name }}. Here: <span id="users"></span></p>
<ol id="messages"></ol>
<form id="form"><input id="text" aria-label="Message" autocomplete="off" required> <button>Send</button></form>
<p id="typing" role="status"></p>
@endsection
@section('script')
<script src="/build/pusher.js"></script>
<script src="/build/echo.js"></script>
<script>
    const echo = new Echo.default({
        broadcaster: "pusher",
        key: "{{ config('yamabiko.app.key') }}",
        cluster: "mt1", // required by pusher-js; wsHost overrides it
        wsHost: "{{ env('PUSHER_HOST') }}",
        wsPort: {{ env('PUSHER_PORT') }},
        forceTLS: false,
        enabledTransports: ["ws", "wss"],
    });
    let members = [];
    const room = echo.join("Room.{{ $room }}")
        .here((users) => showNames(members = users))
        .joining((user) => showNames(members = [...members, user]))
        .leaving((user) => showNames(members = members.filter(({ id }) => id !== user.id)))
        .listen("ChatMessageSent", ({ user, message }) => show("messages", `${user.name}: ${message}`))
        .listenForWhisper("typing", ({ name }) => { element("typing").textContent = `${name} is typing`; });

    element("text").addEventListener("input", () => room.whisper("typing", { name: "{{ $user->name }}" }));
    element("form").addEventListener("submit", async (event) => {
        event.preventDefault();
        const message = element("text").value;
        await post("/rooms/{{ $room }}", { message }, { "X-Socket-ID": echo.socketId() });
        show("messages", `{{ $user->name }}: ${message}`); // toOthers() leaves this page out
    });
</script>
@endsection
