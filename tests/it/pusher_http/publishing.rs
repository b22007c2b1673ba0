//! Events: their receivers, and the effects of a refused call.

use serde_json::{Value, json};
use yamabiko::auth::pusher::AppCredentials;

use super::{APPS, app, call, event, is, now, one, refused, send, serve, signed};
use crate::support::redis::RedisServer;
use crate::support::{Client, Server, eventually};

/// A page of an app.
pub(super) struct Page {
    client: Client,
    app: AppCredentials,
    socket_id: String,
}

impl Page {
    pub(super) fn open(server: &Server, app: AppCredentials) -> Self {
        let path = format!("/app/{}?protocol=7&client=js&version=8.4.0&flash=false", app.key());
        let mut client = Client::upgrade(crate::support::Request::get(server.address, path)).unwrap();
        let first = client.expect_json();
        assert_eq!(first["event"], "pusher:connection_established", "{first}");
        let data: Value = serde_json::from_str(first["data"].as_str().unwrap()).unwrap();
        let socket_id = data["socket_id"].as_str().unwrap().to_owned();
        Self { client, app, socket_id }
    }

    pub(super) fn subscribe(&mut self, channel: &str) {
        self.join(channel, None);
    }

    /// On a presence channel, as this user.
    fn enter(&mut self, channel: &str, user: &Value) {
        self.join(channel, Some(&json!({ "user_id": user }).to_string()));
    }

    fn join(&mut self, channel: &str, member: Option<&str>) {
        let auth = self.app.sign_channel(&self.socket_id, channel, member);
        let data = json!({ "channel": channel, "auth": auth, "channel_data": member });
        self.client.send_json(&json!({ "event": "pusher:subscribe", "data": data }));
        let answer = self.client.expect_json();
        assert_eq!(answer["event"], "pusher_internal:subscription_succeeded", "{answer}");
    }

    fn sign_in(&mut self, id: &str) {
        let user = json!({ "id": id }).to_string();
        let data = json!({ "auth": self.app.sign_user(&self.socket_id, &user), "user_data": user });
        self.client.send_json(&json!({ "event": "pusher:signin", "data": data }));
        let answer = self.client.expect_json();
        assert_eq!(answer["event"], "pusher:signin_success", "{answer}");
    }

    /// The channel, the name and the data of the next event.
    fn expect(&mut self) -> (String, String, String) {
        let event = self.client.expect_json();
        let text = |name: &str| event[name].as_str().unwrap_or_else(|| panic!("{event}")).to_owned();
        (text("channel"), text("event"), text("data"))
    }

    pub(super) fn expect_data(&mut self, data: &str) {
        assert_eq!(self.expect().2, data);
    }
}

/// One server in memory, or two on one Redis.
fn nodes(redis: Option<&RedisServer>) -> Vec<Server> {
    let count = if redis.is_some() { 2 } else { 1 };
    let start = |_| {
        let server = Server::start(|options| {
            options.config(APPS);
            if let Some(redis) = redis {
                options.set("redis.url", redis.url()).set("redis.prefix", "laravel_database_");
            }
        });
        eventually("the broker is there", || server.get_admin("/readyz").status == 200);
        server
    };
    (0..count).map(start).collect()
}

/// The same holds in memory and on two nodes. Of the two, pages are on the first and calls go to the second.
fn everywhere(test: impl Fn(&Server, &Server)) {
    let alone = nodes(None);
    test(&alone[0], &alone[0]);
    drop(alone);
    let redis = RedisServer::start();
    let both = nodes(Some(&redis));
    test(&both[0], &both[1]);
}

#[test]
fn an_event_reaches_subscribers_except_its_socket_id() {
    everywhere(|here, there| {
        let (mut aoi, mut ren, mut yui) =
            (Page::open(here, one()), Page::open(there, one()), Page::open(here, one()));
        aoi.subscribe("private-Chat.1");
        ren.subscribe("private-Chat.1");
        yui.subscribe("public");
        let mut stranger = Page::open(here, app("second app", "two", "the secret of two"));
        stranger.subscribe("publi");
        // Laravel's toOthers().
        let mut body: Value =
            serde_json::from_str(&event(&json!(["private-Chat.1", "public"]), r#"{"message":"山"}"#))
                .unwrap();
        body["socket_id"] = json!(aoi.socket_id);
        let response = call(there, &one(), "POST", "/apps/1/events", &body.to_string());
        assert_eq!((response.status, response.text()), (200, "{}"));
        let expected =
            |channel: &str| (channel.into(), "App\\Events\\MessageSent".into(), r#"{"message":"山"}"#.into());
        assert_eq!(ren.expect(), expected("private-Chat.1"));
        assert_eq!(yui.expect(), expected("public"));

        let batch: Vec<_> = (0..10)
            .map(|number| json!({ "name": "e", "channel": "private-Chat.1", "data": number.to_string() }))
            .collect();
        let body = json!({ "batch": batch }).to_string();
        assert_eq!(call(there, &one(), "POST", "/apps/1/batch_events", &body).status, 200);
        for page in [&mut aoi, &mut ren] {
            (0..10).for_each(|number| page.expect_data(&number.to_string()));
        }
        // An app's channels are its own.
        let two = app("second app", "two", "the secret of two");
        let body = json!({ "name": "e", "channel": "publi", "data": "two" }).to_string();
        assert_eq!(call(there, &two, "POST", "/apps/second%20app/events", &body).status, 200);
        stranger.expect_data("two");
        // Anything published earlier would have arrived before it.
        let last = event(&json!(["public"]), "last");
        assert_eq!(call(there, &one(), "POST", "/apps/1/events", &last).status, 200);
        yui.expect_data("last");
    });
}

#[test]
fn a_refused_call_delivers_nothing() {
    let server = serve();
    let mut page = Page::open(&server, one());
    page.subscribe("a");
    let good = json!({ "name": "e", "channel": "a", "data": "refused" });
    let bad = json!({ "name": "e", "channel": "a b", "data": "refused" });
    let batch = json!({ "batch": [good, bad] }).to_string();
    assert_eq!(call(&server, &one(), "POST", "/apps/1/batch_events", &batch).status, 400);
    let batch = json!({ "batch": vec![good.clone(); 11] }).to_string();
    assert_eq!(call(&server, &one(), "POST", "/apps/1/batch_events", &batch).status, 400);
    let several = event(&json!(["a", "a b"]), "refused");
    assert_eq!(call(&server, &one(), "POST", "/apps/1/events", &several).status, 400);
    let stale = signed(&one(), "POST", "/apps/1/events", &good.to_string(), now() - 620);
    assert_eq!(send(&server, "POST", &stale, &good.to_string()).status, 401);
    let last = event(&json!(["a"]), "accepted");
    assert_eq!(call(&server, &one(), "POST", "/apps/1/events", &last).status, 200);
    page.expect_data("accepted");
}

#[test]
fn queries_cover_all_nodes() {
    everywhere(|here, there| {
        let (mut tab, mut other_tab, mut ren) =
            (Page::open(here, one()), Page::open(there, one()), Page::open(here, one()));
        tab.enter("presence-Room.1", &json!(7));
        other_tab.enter("presence-Room.1", &json!(7));
        ren.enter("presence-Room.1", &json!("ren"));
        ren.subscribe("private-Chat.1");
        let _stranger = Page::open(here, app("second app", "two", "the secret of two"));
        let get = |target: &str| call(there, &one(), "GET", target, "").json();
        eventually("the other node knows", || get("/apps/1/connections") == json!({ "connections": 3 }));
        eventually("the other node knows", || {
            get("/apps/1/channels?filter_by_prefix=presence-&info=user_count,subscription_count")
                == json!({ "channels": { "presence-Room.1": { "user_count": 2, "subscription_count": 3 } } })
        });
        let both = json!({ "channels": {
            "presence-Room.1": { "subscription_count": 3 },
            "private-Chat.1": { "subscription_count": 1 },
        } });
        eventually("the other node knows", || get("/apps/1/channels?info=subscription_count") == both);
        assert_eq!(get("/apps/1/channels/private-Chat.1"), json!({ "occupied": true }));
        assert_eq!(
            get("/apps/1/channels/presence-Room.1?info=user_count,subscription_count"),
            json!({ "occupied": true, "user_count": 2, "subscription_count": 3 })
        );
        assert_eq!(
            get("/apps/1/channels/presence-Room.1/users"),
            json!({ "users": [{ "id": "7" }, { "id": "ren" }] })
        );
        let mut body: Value =
            serde_json::from_str(&event(&json!(["presence-Room.1", "empty"]), "{}")).unwrap();
        body["info"] = json!("user_count,subscription_count");
        let response = call(there, &one(), "POST", "/apps/1/events", &body.to_string());
        assert_eq!(
            response.json(),
            json!({ "channels": {
                "presence-Room.1": { "user_count": 2, "subscription_count": 3 },
                "empty": { "subscription_count": 0 },
            } })
        );
    });
}

#[test]
fn terminating_a_user_closes_its_connections_on_all_nodes_only() {
    everywhere(|here, there| {
        let (mut first, mut second, mut other) =
            (Page::open(here, one()), Page::open(there, one()), Page::open(here, one()));
        first.sign_in("7");
        second.sign_in("7");
        other.sign_in("8");
        let response = call(there, &one(), "POST", "/apps/1/users/7/terminate_connections", "{}");
        assert_eq!((response.status, response.text()), (200, "{}"));
        for page in [&mut first, &mut second] {
            let (_, (code, _)) = page.client.expect_last();
            assert_eq!(code, 4009);
        }
        other.subscribe("public");
        let last = event(&json!(["public"]), "last");
        assert_eq!(call(there, &one(), "POST", "/apps/1/events", &last).status, 200);
        other.expect_data("last");
    });
}

#[test]
fn a_call_the_broker_refuses_is_answered_503() {
    let mut redis = RedisServer::start();
    let server = Server::start(|options| {
        options.config(APPS).set("redis.url", redis.url()).set("redis.publish_timeout", "1s");
    });
    eventually("the broker is there", || server.get_admin("/readyz").status == 200);
    let post = |path: &str, body: &str| call(&server, &one(), "POST", path, body);
    let body = event(&json!(["a"]), "{}");
    assert_eq!(post("/apps/1/events", &body).status, 200);

    redis.kill();
    let batch = json!({"batch": [{"name": "e", "channel": "a", "data": "{}"}]}).to_string();
    for (path, body) in [
        ("/apps/1/events", &*body),
        ("/apps/1/batch_events", &*batch),
        ("/apps/1/users/7/terminate_connections", "{}"),
    ] {
        let response = post(path, body);
        assert_eq!(refused(&response), is(503, "unavailable"), "{path}");
        assert_eq!(response.header("retry-after"), Some("1"));
    }
    // An invalid call is refused as such, and the node is alive.
    assert_eq!(post("/apps/1/events", "{}").status, 400);
    assert_eq!(server.get("/up").status, 200);

    redis.restart();
    eventually("the broker is there again", || post("/apps/1/events", &body).status == 200);
}
