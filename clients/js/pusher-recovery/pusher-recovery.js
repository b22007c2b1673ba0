/* yamabiko-pusher-recovery 0.1.0, MIT */
(function (root, make) {
typeof define === "function" && define.amd ? define(make) : typeof module === "object" ? (module.exports = make()) : (root.PusherRecovery = make());
})(this, function () {
const { parse } = JSON;
const isOld = (id, last) => {
const [epoch, offset] = id.split("-");
return last.startsWith(epoch + "-") && +offset <= +last.split("-")[1];
};
class Session {
constructor(pusher, positions) {
this.pusher = pusher;
this.last = { ...positions };
this.auth = {};
this.connections = 0;
}
remember(authorize) {
return (params, callback) => {
const name = params.channelName || "";
const kept = this.auth[name];
if (kept && kept.connection < this.connections) {
kept.connection = this.connections;
kept.isReused = true;
return callback(null, { ...kept.data });
}
authorize(params, (error, data) => {
if (!error && params.socketId === this.socketId)
this.auth[name] = { data: { ...data }, connection: this.connections };
callback(error, data);
});
};
}
attach(socket, url) {
const send = socket.send;
socket.send = (text) => send.call(socket, this.withPosition(text));
const intercept = (name, change) => {
let handle;
Object.defineProperty(socket, "on" + name, { get() {}, set: (handler) => (handle = handler) });
socket.addEventListener(name, (event) => (event = change(event)) && handle && handle(event));
};
intercept("message", (message) => this.isNew(parse(message.data)) && message);
if (url.includes("version=7"))
intercept("close", ({ code, reason }) => ({ code, reason, wasClean: true }));
return socket;
}
withPosition(text) {
const frame = parse(text);
const since = frame.event === "pusher:subscribe" && this.last[frame.data.channel];
if (!since) return text;
frame.data.since = since;
return JSON.stringify(frame);
}
isNew({ event = "", channel, data, id }) {
if (event === "pusher:connection_established") {
const { socket_id } = parse(data);
if (this.socketId !== socket_id) this.auth = {};
this.socketId = socket_id;
this.connections++;
} else if (event === "pusher:subscription_error") {
const kept = this.auth[channel];
delete this.auth[channel];
const subscription = this.pusher.channel(channel);
if (kept && kept.isReused && subscription) {
subscription.subscribe();
return false;
}
} else if (event.startsWith("yamabiko:") && !channel) {
data = parse(data);
const encrypted = this.pusher.channel(data.channel);
if (encrypted) encrypted.emit(event, data);
} else if (id) {
const last = this.last[channel];
if (/^(pusher_internal|yamabiko):/.test(event)) this.last[channel] = id;
else if (last) {
if (isOld(id, last)) return false;
this.last[channel] = id;
}
}
return true;
}
}
const sessions = {};
const runtimes = new Set();
const install = (runtime) => {
if (runtimes.has(runtime)) return;
runtimes.add(runtime);
const create = runtime.createWebSocket;
runtime.createWebSocket = function (url) {
const session = sessions[url.replace(/.*\/app\/|\?.*/g, "")];
return session ? session.attach(create.call(this, url + "&recovery=2"), url) : create.call(this, url);
};
};
const token = () =>
Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => (byte + 256).toString(16).slice(1)).join("");
return function recovery(Pusher, positions) {
install(Pusher.Runtime);
return class extends Pusher {
constructor(key, options) {
if (!key.includes("~")) key += "~" + token();
const session = (sessions[key] = new Session(null, positions));
super(key, options);
this.session = session;
session.pusher = this;
for (const name of ["channelAuthorizer", "userAuthenticator"])
if (this.config[name]) this.config[name] = session.remember(this.config[name]);
}
startFrom(channel, position) {
this.session.last[channel] = position;
}
unsubscribe(channel) {
super.unsubscribe(channel);
delete this.session.last[channel];
delete this.session.auth[channel];
}
disconnect() {
super.disconnect();
this.session.auth = {};
}
};
}
});
