@extends('layout')
@section('title', 'Tweets')
@section('content')
<p>{{ $user->name }}, <span id="state" role="status"></span></p>
<form id="form"><input id="text" aria-label="Tweet" autocomplete="off" required> <button>Tweet</button></form>
<ol id="tweets"></ol>
@endsection
@section('script')
<script type="module">
    import { connect } from "/build/yamabiko.js";

    const tweets = connect("/websocket/token?channel=tweet:");
    tweets.on("state", ({ state }) => { element("state").textContent = state; });
    tweets.on("message", ({ data: { tweet } }) => show("tweets", `${tweet.user.name}: ${tweet.content}`));
    element("form").addEventListener("submit", (event) => {
        event.preventDefault();
        post("/tweets", { content: element("text").value });
    });
</script>
@endsection
