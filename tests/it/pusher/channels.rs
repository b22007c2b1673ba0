use serde_json::json;

use crate::pusher::page::{data, get, trigger, trigger_other};
use crate::pusher::{APPS, Page, serve, with_both};
use crate::support::eventually;

#[test]
fn events_reach_the_subscribers_of_their_channels() {
    with_both(APPS, |server| {
        let (mut a, mut b) = (Page::open(server), Page::open(server));
        a.subscribe("news");
        a.subscribe("private-Chat.1");
        b.subscribe("private-encrypted-x");
        b.subscribe("private-Chat.1");
        trigger(server, &["news", "private-encrypted-x"], "E", &json!({ "n": 1 }), None);
        a.expect("E", "news", &json!({ "n": 1 }));
        b.expect("E", "private-encrypted-x", &json!({ "n": 1 }));
        let event = "App\\Events\\ChatMessageSent";
        trigger(server, &["private-Chat.1"], event, &json!({ "message": "山" }), None);
        for page in [&mut a, &mut b] {
            page.expect(event, "private-Chat.1", &json!({ "message": "山" }));
        }
        a.unsubscribe("private-Chat.1");
        a.expect_quiet();
        trigger(server, &["private-Chat.1"], event, &json!(2), None);
        b.expect(event, "private-Chat.1", &json!(2));
        a.expect_quiet();
        a.subscribe("private-Chat.1");
        trigger(server, &["private-Chat.1"], event, &json!(3), None);
        a.expect(event, "private-Chat.1", &json!(3));
    });
}

#[test]
fn an_event_with_a_socket_id_skips_that_connection() {
    with_both(APPS, |server| {
        let (mut a, mut b) = (Page::open(server), Page::open(server));
        for page in [&mut a, &mut b] {
            page.subscribe("private-a");
            page.subscribe("b");
        }
        trigger(server, &["private-a", "b"], "E", &json!(1), Some(&a.socket_id));
        // Each channel has its order; the channels have none among them.
        let mut channels = [b.next().1, b.next().1];
        channels.sort();
        assert_eq!(channels, ["b", "private-a"]);
        trigger(server, &["b"], "E", &json!(2), None);
        a.expect("E", "b", &json!(2));
    });
}

#[test]
fn apps_do_not_share_channels() {
    let server = serve(APPS);
    let mut one = Page::open(&server);
    let mut two = Page::of_app(&server, "other", "another-secret-of-the-tests");
    one.subscribe("a");
    two.subscribe("a");
    trigger(&server, &["a"], "E", &json!(1), None);
    one.expect("E", "a", &json!(1));
    trigger_other(&server, &["a"], "E", &json!(2));
    two.expect("E", "a", &json!(2));
}

#[test]
fn unauthorised_subscriptions_are_refused() {
    let server = serve(APPS);
    let mut page = Page::open(&server);
    for (request, status) in [
        (json!({ "channel": "private-a" }), 401),
        (json!({ "channel": "private-a", "auth": "page:00" }), 401),
        (json!({ "channel": "presence-a", "auth": "page:00", "channel_data": "{}" }), 401),
        (json!({ "channel": "#server-to-user-7" }), 403),
        (json!({ "channel": "#users" }), 400),
        (json!({ "channel": "a b" }), 400),
    ] {
        page.send("pusher:subscribe", request.clone());
        let frame = page.client.expect_json();
        assert_eq!(frame["event"], "pusher:subscription_error", "{frame}");
        assert_eq!(
            (&frame["channel"], &data(&frame)["status"]),
            (&request["channel"], &json!(status)),
            "{frame}"
        );
    }
    for (reason, count) in
        [("missing_signature", 1), ("bad_signature", 2), ("not_this_user", 1), ("invalid_channel", 2)]
    {
        let metric = format!("yamabiko_pusher_subscriptions_refused_total{{reason=\"{reason}\"}}");
        server.expect_metric(&metric, count);
    }
    let refused = server.expect_log(|line| line["message"] == "subscription refused");
    assert_eq!((&refused["channel"], &refused["app"]), (&json!("private-a"), &json!("1")), "{refused}");
    page.subscribe("a");
    page.ask("a", None);
    assert_eq!(page.next().0, "pusher:error");
    page.expect_quiet();
}

#[test]
fn a_cache_channel_replays_its_last_event() {
    with_both(APPS, |server| {
        for channel in ["cache-a", "private-cache-a", "private-encrypted-cache-a"] {
            let mut first = Page::open(server);
            first.subscribe(channel);
            first.expect("pusher:cache_miss", channel, &json!({}));
            trigger(server, &[channel], "E", &json!(1), Some(&first.socket_id));
            trigger(server, &[channel], "E", &json!(2), None);
            first.expect("E", channel, &json!(2));
            let mut second = Page::open(server);
            second.subscribe(channel);
            second.expect("E", channel, &json!(2));
            second.expect_quiet();
        }
        let mut page = Page::open(server);
        trigger(server, &["presence-cache-a"], "E", &json!(1), None);
        assert_eq!(page.enter("presence-cache-a", 1), [1]);
        page.expect("E", "presence-cache-a", &json!(1));
    });
}

#[test]
fn the_http_api_counts_channels_and_connections() {
    with_both(APPS, |server| {
        let (mut a, mut b) = (Page::open(server), Page::open(server));
        a.subscribe("news");
        b.subscribe("news");
        a.enter("presence-a", 1);
        b.enter("presence-a", 1);
        let is = |path: &str, query: &str, expected: serde_json::Value| {
            eventually("the counts are current", || get(server, path, query).json() == expected);
        };
        is("/apps/1/channels", "", json!({ "channels": { "news": {}, "presence-a": {} } }));
        is(
            "/apps/1/channels/news",
            "&info=subscription_count",
            json!({ "occupied": true, "subscription_count": 2 }),
        );
        let info = json!({ "occupied": true, "subscription_count": 2, "user_count": 1 });
        is("/apps/1/channels/presence-a", "&info=user_count,subscription_count", info);
        is("/apps/1/channels/presence-a/users", "", json!({ "users": [{ "id": "1" }] }));
        is("/apps/1/connections", "", json!({ "connections": 2 }));
        a.client.vanish();
        b.unsubscribe("news");
        is("/apps/1/channels", "", json!({ "channels": { "presence-a": {} } }));
        is("/apps/1/connections", "", json!({ "connections": 1 }));
        drop(b);
        is("/apps/1/channels", "", json!({ "channels": {} }));
        eventually("nothing is left", || {
            let gauges =
                ["yamabiko_pusher_connections", "yamabiko_pusher_subscriptions", "yamabiko_channels"];
            gauges.iter().all(|gauge| server.metric(gauge) == 0)
        });
    });
}

#[test]
fn subscription_counts_are_sent_where_the_app_enables_them() {
    let server = serve(&format!("[pusher]\nsubscription_count = true\n{APPS}"));
    // A new subscriber asks for the count, which all subscribers receive: it may repeat.
    let count = |page: &mut Page, count: u64| {
        loop {
            let (event, channel, data) = page.next();
            assert_eq!((&*event, &*channel), ("pusher_internal:subscription_count", "news"));
            if data == json!({ "subscription_count": count }) {
                break;
            }
        }
    };
    let mut a = Page::open(&server);
    a.subscribe("news");
    count(&mut a, 1);
    let mut b = Page::open(&server);
    b.subscribe("news");
    count(&mut b, 2);
    count(&mut a, 2);
    b.client.close();
    count(&mut a, 1);
}

#[test]
fn a_confirmed_subscriber_is_counted_at_once() {
    with_both(APPS, |server| {
        let mut page = Page::open(server);
        for round in 0..40 {
            let channel = format!("news{}", round % 3);
            let info =
                || get(server, &format!("/apps/1/channels/{channel}"), "&info=subscription_count").json();
            page.subscribe(&channel);
            assert_eq!(info(), json!({ "occupied": true, "subscription_count": 1 }), "round {round}");
            let listed = get(server, "/apps/1/channels", "").json();
            assert_eq!(listed["channels"][&channel], json!({}), "round {round}: {listed}");
            page.unsubscribe(&channel);
            page.expect_quiet();
            assert_eq!(info(), json!({ "occupied": false, "subscription_count": 0 }), "round {round}");
        }
        page.enter("presence-a", 1);
        let info = get(server, "/apps/1/channels/presence-a", "&info=user_count").json();
        assert_eq!(info, json!({ "occupied": true, "user_count": 1 }));
    });
}

#[test]
fn the_http_api_returns_the_cached_event() {
    with_both(APPS, |server| {
        let cached = |channel: &str| {
            get(server, &format!("/apps/1/channels/{channel}"), "&info=cache,subscription_count").json()
        };
        for channel in ["cache-a", "private-cache-a", "presence-cache-a", "private-encrypted-cache-a"] {
            assert_eq!(cached(channel), json!({ "occupied": false, "subscription_count": 0, "cache": null }));
            trigger(server, &[channel], "E", &json!({ "n": [1] }), None);
            eventually("the event is kept", || !cached(channel)["cache"].is_null());
            let cache = &cached(channel)["cache"];
            assert_eq!(cache["data"], r#"{"n":[1]}"#);
            let ttl = cache["ttl"].as_u64().unwrap();
            assert!((1700..=1800).contains(&ttl), "{ttl}");
        }
        assert_eq!(get(server, "/apps/1/channels/a", "&info=cache").status, 400);
        assert_eq!(get(server, "/apps/1/channels", "&filter_by_prefix=cache-&info=cache").status, 400);
    });
}

#[test]
fn mass_departures_do_not_block_other_clients() {
    const CHANNELS: usize = 1000;
    let limits = "limits.messages_per_second = 0\npusher.channels_per_connection = 1000\n";
    let server = serve(&format!("{limits}{APPS}"));
    let mut many: Vec<Page> = (0..30).map(|_| Page::open(&server)).collect();
    for (number, page) in many.iter_mut().enumerate() {
        for channel in 0..CHANNELS {
            page.ask(&format!("c-{number}-{channel}"), None);
        }
        for _ in 0..CHANNELS {
            assert_eq!(page.next().0, "pusher_internal:subscription_succeeded");
        }
    }
    let mut page = Page::open(&server);
    for page in many {
        page.client.vanish();
    }
    // Each answer comes within the client's timeout, also where each departure costs a walk over everything that is left.
    eventually("they are gone", || {
        page.subscribe("c");
        page.unsubscribe("c");
        page.expect_quiet();
        server.metric("yamabiko_channels") == 0
    });
}
