@extends('layout')
@section('title', 'Progress')
@section('content')
<p>{{ $user->name }}, <span id="state" role="status"></span></p>
<button id="start">Start the job</button>
<p><label><span id="title"></span> <progress id="bar" value="0"></progress></label> <span id="detail"></span></p>
@endsection
@section('script')
<script type="module">
    import { connect } from "/build/yamabiko.js";

    // The job tells its progress on the channel of the user who has started it.
    const progress = connect("/websocket/token?channel=progress:{{ $user->id }}");
    progress.on("state", ({ state }) => { element("state").textContent = state; });
    progress.on("message", ({ data: { info } }) => {
        if (info.type !== "sample_job_progress") return;
        element("title").textContent = info.title;
        element("bar").max = info.detail.total;
        element("bar").value = info.detail.cursor;
        element("detail").textContent = `${info.detail.cursor} of ${info.detail.total}`;
    });
    element("start").addEventListener("click", () => post("/jobs", {}));
</script>
@endsection
