use serde_json::{Value, json};

use crate::pusher::page::data;
use crate::pusher::{APPS, Page, serve, with_both};

fn whisper(page: &mut Page, channel: &str, event: &str, data: &Value) {
    page.client.send_json(&json!({ "event": event, "channel": channel, "data": data }));
}

#[test]
fn a_client_event_reaches_all_but_its_sender() {
    with_both(APPS, |server| {
        let (mut a, mut b) = (Page::open(server), Page::open(server));
        for page in [&mut a, &mut b] {
            page.subscribe("private-a");
        }
        whisper(&mut a, "private-a", "client-typing", &json!({ "name": "Aoi" }));
        b.expect("client-typing", "private-a", &json!({ "name": "Aoi" }));
        whisper(&mut b, "private-a", "client-typing", &json!(2));
        a.expect("client-typing", "private-a", &json!(2));
    });
}

#[test]
fn a_client_event_on_a_presence_channel_names_its_sender() {
    let server = serve(APPS);
    let (mut a, mut b) = (Page::open(&server), Page::open(&server));
    a.enter("presence-a", 1);
    b.enter("presence-a", 2);
    a.expect_added("presence-a", 2);
    whisper(&mut a, "presence-a", "client-x", &json!(1));
    let frame = b.client.expect_json();
    assert_eq!(
        (&frame["event"], &frame["user_id"], data(&frame)),
        (&json!("client-x"), &json!("1"), json!(1))
    );
    a.expect_quiet();
}

#[test]
fn forbidden_client_events_are_refused() {
    let server = serve(APPS);
    let mut page = Page::open(&server);
    page.subscribe("private-a");
    page.subscribe("private-encrypted-a");
    page.subscribe("public");
    for (channel, event) in [
        ("private-b", "client-x"),
        ("public", "client-x"),
        ("private-encrypted-a", "client-x"),
        ("private-a", "App\\Events\\X"),
        ("private-a", "pusher_internal:member_added"),
    ] {
        whisper(&mut page, channel, event, &json!(1));
        assert_eq!(page.next().0, "pusher:error", "{channel} {event}");
    }
    let mut other = Page::of_app(&server, "other", "another-secret-of-the-tests");
    other.subscribe("private-a");
    whisper(&mut other, "private-a", "client-x", &json!(1));
    assert_eq!(other.next().0, "pusher:error");
    server.expect_metric("yamabiko_messages_refused_total{reason=\"not_allowed\"}", 4);
    server.expect_metric("yamabiko_messages_refused_total{reason=\"invalid_message\"}", 2);
}

#[test]
fn client_events_over_the_rate_are_refused() {
    let server = serve(APPS);
    let mut page = Page::open(&server);
    page.subscribe("private-a");
    for _ in 0..11 {
        whisper(&mut page, "private-a", "client-x", &json!(1));
    }
    let (event, _, error) = page.next();
    assert_eq!((event.as_str(), &error["code"]), ("pusher:error", &json!(4301)));
    server.expect_metric("yamabiko_messages_refused_total{reason=\"rate_limited\"}", 1);
    page.expect_quiet();
}
