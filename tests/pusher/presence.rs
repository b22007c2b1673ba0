use serde_json::json;

use crate::{APPS, Page, serve, with_both};

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

#[test]
fn a_full_channel_takes_no_new_member_but_another_tab() {
    let server = serve(&format!("[pusher]\npresence_members = 2\n{APPS}"));
    let (mut a, mut b, mut c) = (Page::open(&server), Page::open(&server), Page::open(&server));
    a.enter("presence-a", 1);
    b.enter("presence-a", 2);
    c.ask("presence-a", Some(&crate::page::member(3)));
    let (event, _, error) = c.next();
    assert_eq!((event.as_str(), &error["type"]), ("pusher:subscription_error", &json!("LimitReached")));
    assert_eq!(c.enter("presence-a", 2), [1, 2]);
    a.expect_added("presence-a", 2);
    a.expect_quiet();
}

#[test]
fn coming_and_going_at_once_leaves_nobody_behind() {
    let server = serve(APPS);
    let mut watcher = Page::open(&server);
    watcher.enter("presence-a", 1);
    let mut page = Page::open(&server);
    for _ in 0..50 {
        page.ask("presence-a", Some(&crate::page::member(2)));
        page.unsubscribe("presence-a");
    }
    page.ask("presence-b", Some(&crate::page::member(2)));
    while page.next().1 != "presence-b" {}
    page.ask("presence-a", Some(&crate::page::member(2)));
    page.client.vanish();
    crate::eventually("only the watcher is left", || {
        let users = crate::page::get(&server, "/apps/1/channels/presence-a/users", "");
        let connections = crate::page::get(&server, "/apps/1/connections", "");
        users.json() == json!({ "users": [{ "id": "1" }] })
            && connections.json() == json!({ "connections": 1 })
    });
}
