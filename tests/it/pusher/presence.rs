use std::io::Write;

use serde_json::json;

use crate::pusher::{APPS, Page, serve, with_both};

#[test]
fn several_tabs_are_one_member() {
    with_both(APPS, |server| {
        let mut watcher = Page::open(server);
        assert_eq!(watcher.enter("presence-a", 1), [1]);
        let (mut tab, mut another) = (Page::open(server), Page::open(server));
        assert_eq!(tab.enter("presence-a", 2), [1, 2]);
        watcher.expect_added("presence-a", 2);
        assert_eq!(another.enter("presence-a", 2), [1, 2]);
        tab.client.close();
        watcher.expect_quiet();
        another.unsubscribe("presence-a");
        watcher.expect_removed("presence-a", 2);
        assert_eq!(another.enter("presence-a", 3), [1, 3]);
        watcher.expect_added("presence-a", 3);
        another.client.vanish();
        watcher.expect_removed("presence-a", 3);
    });
}

/// A page that does not answer the close frame: its socket stays for the closing handshake, and its member does not.
#[test]
fn a_closed_connection_leaves_its_channels_at_once() {
    let server = crate::support::Server::start(|options| {
        options.set("limits.outbox_bytes", 65_536).config(&format!("[pusher]\nevent_bytes = 200000\n{APPS}"));
    });
    let mut watcher = Page::open(&server);
    watcher.enter("presence-a", 1);
    let mut closed = |how: &dyn Fn(&mut Page)| {
        let mut page = Page::open(&server);
        page.enter("presence-a", 2);
        watcher.expect_added("presence-a", 2);
        how(&mut page);
        watcher.expect_removed("presence-a", 2);
        assert_eq!(server.metric("yamabiko_connections"), 2, "it is still to answer");
        page.client.vanish();
        crate::support::eventually("the socket is gone", || server.metric("yamabiko_connections") == 1);
    };
    closed(&|page| {
        page.sign_in(r#"{"id":"7"}"#);
        assert_eq!(page.next().0, "pusher:signin_success");
        let path = "/apps/1/users/7/terminate_connections";
        assert_eq!(crate::pusher::page::post(&server, path, &json!({})).status, 200);
    });
    closed(&|page| page.send("pusher:signin", json!({ "auth": "page:00", "user_data": r#"{"id":"7"}"# })));
    closed(&|page| page.client.stream().write_all(&[0xff; 14]).unwrap());
    closed(&|page| {
        page.subscribe("news");
        while server.metric("yamabiko_pusher_subscriptions") > 1 {
            crate::pusher::page::trigger(&server, &["news"], "E", &json!("x".repeat(50_000)), None);
        }
    });
    watcher.expect_quiet();
}

#[test]
fn a_timed_out_connection_leaves_its_channels_at_once() {
    let server = serve(
        r#"
[[apps]]
id = "1"
key = "page"
secret = "app-secret-of-the-tests"
activity_timeout = "1s"
pong_timeout = "1s"
"#,
    );
    let mut page = Page::of_impatient_app(&server);
    page.enter("presence-a", 1);
    crate::support::eventually("the member is gone", || {
        crate::pusher::page::get(&server, "/apps/1/channels/presence-a/users", "").json()
            == json!({ "users": [] })
    });
    assert_eq!(server.metric("yamabiko_connections"), 1, "it is still to answer");
    page.client.vanish();
}

#[test]
fn a_full_channel_refuses_new_members_but_accepts_another_tab() {
    let server = serve(&format!("[pusher]\npresence_members = 2\n{APPS}"));
    let (mut a, mut b, mut c) = (Page::open(&server), Page::open(&server), Page::open(&server));
    a.enter("presence-a", 1);
    b.enter("presence-a", 2);
    c.ask("presence-a", Some(&crate::pusher::page::member(3)));
    let (event, _, error) = c.next();
    assert_eq!((event.as_str(), &error["type"]), ("pusher:subscription_error", &json!("LimitReached")));
    assert_eq!(c.enter("presence-a", 2), [1, 2]);
    a.expect_added("presence-a", 2);
    a.expect_quiet();
}

#[test]
fn concurrent_joins_and_leaves_leave_no_member_behind() {
    let server = serve(APPS);
    let mut watcher = Page::open(&server);
    watcher.enter("presence-a", 1);
    let mut page = Page::open(&server);
    for _ in 0..50 {
        page.ask("presence-a", Some(&crate::pusher::page::member(2)));
        page.unsubscribe("presence-a");
    }
    page.ask("presence-b", Some(&crate::pusher::page::member(2)));
    while page.next().1 != "presence-b" {}
    page.ask("presence-a", Some(&crate::pusher::page::member(2)));
    page.client.vanish();
    crate::support::eventually("only the watcher is left", || {
        let users = crate::pusher::page::get(&server, "/apps/1/channels/presence-a/users", "");
        let connections = crate::pusher::page::get(&server, "/apps/1/connections", "");
        users.json() == json!({ "users": [{ "id": "1" }] })
            && connections.json() == json!({ "connections": 1 })
    });
}
