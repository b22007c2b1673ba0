use serde_json::json;

use crate::pusher::page::{post, trigger};
use crate::pusher::{APPS, Page, serve, with_both};

#[test]
fn a_signed_in_user_receives_events_and_can_be_terminated() {
    with_both(APPS, |server| {
        let (mut a, mut b) = (Page::open(server), Page::open(server));
        let user = r#"{"id":"7","user_info":{"name":"Aoi"}}"#;
        a.sign_in(user);
        a.expect("pusher:signin_success", "", &json!({ "user_data": user }));
        a.subscribe("#server-to-user-7");
        b.sign_in(r#"{"id":"8"}"#);
        assert_eq!(b.next().0, "pusher:signin_success");
        b.ask("#server-to-user-7", None);
        assert_eq!(b.next().0, "pusher:subscription_error");
        trigger(server, &["#server-to-user-7"], "E", &json!(1), None);
        a.expect("E", "#server-to-user-7", &json!(1));
        let answer = post(server, "/apps/1/users/7/terminate_connections", &json!({}));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let (event, _, error) = a.next();
        assert_eq!((event.as_str(), &error["code"]), ("pusher:error", &json!(4009)));
        assert_eq!(a.client.expect_close().0, 4009);
        b.expect_quiet();
    });
}

#[test]
fn a_watchlist_reports_users_online_and_offline() {
    with_both(APPS, |server| {
        let event = "pusher_internal:watchlist_events";
        let told = |name: &str, id: &str| json!({ "events": [{ "name": name, "user_ids": [id] }] });
        let mut friend = Page::open(server);
        friend.sign_in(r#"{"id":"friend"}"#);
        friend.expect("pusher:signin_success", "", &json!({ "user_data": r#"{"id":"friend"}"# }));
        friend.expect_quiet();
        let mut watcher = Page::open(server);
        // Whoever is told of the friend, now or later, has the friend known to the node.
        let mut earlier = Page::open(server);
        earlier.sign_in(r#"{"id":"earlier","watchlist":["friend"]}"#);
        assert_eq!(earlier.next().0, "pusher:signin_success");
        earlier.expect(event, "", &told("online", "friend"));
        watcher.sign_in(r#"{"id":"w","watchlist":["friend","stranger"]}"#);
        assert_eq!(watcher.next().0, "pusher:signin_success");
        watcher.expect(event, "", &told("online", "friend"));
        let mut stranger = Page::open(server);
        stranger.sign_in(r#"{"id":"stranger"}"#);
        watcher.expect(event, "", &told("online", "stranger"));
        let mut tab = Page::open(server);
        tab.sign_in(r#"{"id":"friend"}"#);
        tab.expect("pusher:signin_success", "", &json!({ "user_data": r#"{"id":"friend"}"# }));
        tab.expect_quiet();
        friend.client.close();
        watcher.expect_quiet();
        tab.client.close();
        watcher.expect(event, "", &told("offline", "friend"));
    });
}

#[test]
fn a_forged_sign_in_closes_the_connection() {
    let server = serve(APPS);
    let mut page = Page::open(&server);
    page.send("pusher:signin", json!({ "auth": "page:00", "user_data": r#"{"id":"7"}"# }));
    let (event, _, error) = page.next();
    assert_eq!((event.as_str(), &error["code"]), ("pusher:error", &json!(4009)));
    assert_eq!(page.client.expect_close().0, 4009);
}
