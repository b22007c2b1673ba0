<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>@yield('title')</title>
<style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem }</style>
<nav><a href="/chat">Chat</a> · <a href="/tweets">Tweets</a> · <a href="/progress">Progress</a> · <a href="/rooms/1">Room</a> · <a href="/">Log in</a></nav>
<h1>@yield('title')</h1>
@yield('content')
<script>
    const element = (id) => document.getElementById(id);
    const post = (path, body, headers = {}) => fetch(path, {
        method: "POST",
        headers: { "Content-Type": "application/json", Accept: "application/json", ...headers },
        body: JSON.stringify(body),
    });
    function show(list, text) {
        const item = document.createElement("li");
        item.textContent = text;
        element(list).append(item);
    }
    const showNames = (users) => { element("users").textContent = users.map(({ name }) => name).sort().join(", "); };
</script>
@yield('script')
</html>
