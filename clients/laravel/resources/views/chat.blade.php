<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Yamabiko</title>
<h1>chat:default</h1>
<p id="state" role="status"></p>
<ol id="messages"></ol>
<form id="form"><input id="text" aria-label="Message" autocomplete="off" required> <button>Send</button></form>
<script type="module">
    import { connect } from "{{ $client }}";

    // The token route of an application is /websocket/token?channel=chat:default.
    const chat = connect("{{ $token }}");
    const element = (id) => document.getElementById(id);
    chat.on("state", ({ state }) => { element("state").textContent = state; });
    chat.on("message", ({ sender, data }) => {
        const item = document.createElement("li");
        item.textContent = `${sender.name}: ${data.message}`;
        element("messages").append(item);
    });
    element("form").addEventListener("submit", async (event) => {
        event.preventDefault();
        await chat.send({ message: element("text").value, name: chat.user.name });
        element("text").value = "";
    });
</script>
</html>
