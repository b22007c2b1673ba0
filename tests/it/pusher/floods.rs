//! A page that sends much at once: all of it is served, in its order.

use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::pusher::page::{self, Page};
use crate::pusher::{APPS, with_both};
use crate::support::{Raw, Server};

fn frames(event: &str, data: impl Iterator<Item = Value>) -> Vec<u8> {
    data.flat_map(|data| Raw::text(&json!({ "event": event, "data": data }).to_string())).collect()
}

fn channels(numbers: std::ops::Range<usize>) -> impl Iterator<Item = Value> {
    numbers.map(|number| json!({ "channel": format!("room-{number}") }))
}

fn write(page: &mut Page, bytes: &[u8]) {
    let mut writer = page.client.stream().try_clone().unwrap();
    let bytes = bytes.to_vec();
    std::thread::spawn(move || writer.write_all(&bytes).unwrap());
}

#[test]
fn a_page_may_subscribe_to_all_its_channels_at_once() {
    with_both(APPS, |server| {
        let mut page = Page::open(server);
        let mut flood = frames("pusher:subscribe", channels(0..1001));
        flood.extend(frames("pusher:ping", std::iter::once(json!({}))));
        write(&mut page, &flood);
        // With Redis, a channel is joined when its topic is subscribed, or after a second.
        let (mut joined, mut refused, mut ponged) = (Vec::new(), Vec::new(), false);
        while joined.len() < 1000 || refused.is_empty() || !ponged {
            let (event, channel, data) = page.next();
            match event.as_str() {
                "pusher_internal:subscription_succeeded" => joined.push(channel),
                "pusher:subscription_error" => refused.push((channel, data["status"].clone())),
                "pusher:pong" => ponged = true,
                _ => panic!("{event} {channel} {data}"),
            }
        }
        joined.sort_by_key(|name| name["room-".len()..].parse::<usize>().unwrap());
        assert!(joined.iter().enumerate().all(|(number, name)| *name == format!("room-{number}")));
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert_eq!(refused[0].0, "room-1000");

        let mut flood = frames("pusher:unsubscribe", channels(0..700));
        flood.extend(frames("pusher:ping", std::iter::once(json!({}))));
        write(&mut page, &flood);
        page.expect("pusher:pong", "", &json!({}));
        let channels = page::get(server, "/apps/1/channels", "").json();
        assert_eq!(channels["channels"].as_object().unwrap().len(), 300);
    });
}

#[test]
fn messages_over_the_rate_are_delayed_not_refused() {
    let server = Server::start(|options| {
        options.config(&format!("pusher.channels_per_connection = 5\n{APPS}"));
        options.set("limits.messages_per_second", 10).set("limits.burst", 5);
    });
    let mut page = Page::open(&server);
    let started = Instant::now();
    write(&mut page, &frames("pusher:ping", (0..20).map(|_| json!({}))));
    for _ in 0..20 {
        page.expect("pusher:pong", "", &json!({}));
    }
    assert!(started.elapsed() >= Duration::from_millis(900), "20 in {:?}", started.elapsed());
    server.expect_metric("yamabiko_connections_throttled_total", 1);
    let line = server.expect_log(|line| line["message"].as_str().unwrap().starts_with("throttled"));
    assert_eq!(line["app"], "1");
}
