@extends('layout')
@section('title', 'Chat')
@section('content')
<p>{{ $user->name }}, <span id="state" role="status"></span>. Here: <span id="users"></span></p>
<ol id="messages">
    @foreach ($messages as $message)
        <li>{{ $message['name'] }}: {{ $message['message'] }}</li>
    @endforeach
</ol>
<form id="form">
    <input id="text" aria-label="Message" autocomplete="off" required>
    <select id="to" aria-label="To">
        <option value="">all</option>
        @foreach ($users as $other)
            <option value="{{ $other->id }}">{{ $other->name }}</option>
        @endforeach
    </select>
    <button>Send</button>
    <button type="button" id="announce">Send as Laravel</button>
</form>
<p id="error" role="alert"></p>
@endsection
@section('script')
<script type="module">
    import { connect } from "/build/yamabiko.js";

    const chat = connect("/websocket/token?channel=chat:default");
    chat.on("state", ({ state }) => { element("state").textContent = state; });
    chat.on("message", ({ sender, data }) => show("messages", `${sender.name}: ${data.message}`));
    chat.on("users", showNames);

    element("form").addEventListener("submit", async (event) => {
        event.preventDefault();
        element("error").textContent = "";
        try {
            await chat.send({ message: element("text").value, name: chat.user.name, target_user_id: Number(element("to").value) || null });
            element("text").value = "";
        } catch (error) {
            element("error").textContent = error.message;
        }
    });
    element("announce").addEventListener("click", () => post("/announcements", { message: element("text").value }));
</script>
@endsection
