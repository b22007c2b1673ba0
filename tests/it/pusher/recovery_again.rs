//! Pages that end a subscription while they are sent what they have missed on it, and subscribe again.

use std::io::Read as _;

use serde_json::{Value, json};

use crate::pusher::page::{connect, data, deliver, trigger};
use crate::pusher::recovery::{TOKEN, apps, say};
use crate::pusher::{Page, node, serve};
use crate::support::redis::RedisServer;
use crate::support::{Server, eventually};

const CHANNEL: &str = "private-h.1";

const SUCCEEDED: &str = "pusher_internal:subscription_succeeded";

/// A page that gives positions when it subscribes.
fn page_with_positions(server: &Server) -> Page {
    deliver(server);
    Page::at(server, "page", "&recovery=2")
}

fn expect_subscriptions(server: &Server, count: i64) {
    eventually("the node has handled it", || server.metric("yamabiko_pusher_subscriptions") == count);
}

/// What a page is told that it has missed.
fn expect_recovered(page: &mut Page, numbers: std::ops::RangeInclusive<i64>) {
    let count = numbers.clone().count();
    page.expect("yamabiko:recovered", CHANNEL, &json!({ "channel": CHANNEL, "count": count }));
    for number in numbers {
        let (event, _, data) = page.next();
        assert_eq!((&*event, first_number(&data)), ("E", number));
    }
}

/// Events are numbers, or long texts that begin with one.
fn first_number(data: &Value) -> i64 {
    let text = data.as_str().and_then(|text| text.split(' ').next());
    data.as_i64().or_else(|| text?.parse().ok()).unwrap_or_else(|| panic!("no number: {data}"))
}

#[test]
fn a_replay_ends_with_its_subscription() {
    /// Several parts of a replay. A part is more than the kernel buffers.
    const LONG: i64 = 300;
    let settings = "[limits]\nmessage_bytes = 262144\noutbox_bytes = 25165824\n[pusher]\nevent_bytes = 131072\n[recovery]\nchannel_bytes = 134217728\n";
    let server = serve(&apps(settings).replace("messages = 100\n", "messages = 1000\n"));
    let mut page = page_with_positions(&server);
    page.ask_since(CHANNEL, None);
    let position = page.client.expect_json()["id"].as_str().unwrap().to_owned();
    page.unsubscribe(CHANNEL);
    page.expect_quiet();
    let text = "x".repeat(130_000);
    for number in 1..=LONG {
        trigger(&server, &[CHANNEL], "E", &json!(format!("{number} {text}")), None);
    }
    // The page does not read on, so that the replay waits for it.
    page.ask_since(CHANNEL, Some(&position));
    assert_eq!(page.next().0, SUCCEEDED);
    page.expect("yamabiko:recovered", CHANNEL, &json!({ "channel": CHANNEL, "count": LONG }));
    page.unsubscribe(CHANNEL);
    expect_subscriptions(&server, 0);
    say(&server, CHANNEL, LONG + 1);
    deliver(&server);
    page.ask_since(CHANNEL, Some(&position));
    expect_subscriptions(&server, 1);
    say(&server, CHANNEL, LONG + 2);

    while page.next().0 != SUCCEEDED {}
    expect_recovered(&mut page, 1..=LONG + 1);
    page.expect("E", CHANNEL, &json!(LONG + 2));
    page.expect_quiet();
}

/// How often messages have been read from the histories in Redis.
fn reads(client: &mut redis::Connection) -> usize {
    let statistics: String = redis::cmd("INFO").arg("commandstats").query(client).unwrap();
    let reads = statistics.lines().find_map(|line| line.strip_prefix("cmdstat_xrange:calls="));
    reads.map_or(0, |reads| reads.split(',').next().unwrap().parse().unwrap())
}

#[test]
fn a_page_that_subscribes_again_and_again_is_read_for_once_at_a_time() {
    const TIMES: usize = 50;
    let redis = RedisServer::start();
    let one = node(&redis, &apps(""));
    let mut page = page_with_positions(&one);
    page.ask_since(CHANNEL, None);
    page.next();
    let positions: Vec<String> = (1..=99)
        .map(|number| {
            say(&one, CHANNEL, number);
            page.client.expect_json()["id"].as_str().unwrap().to_owned()
        })
        .collect();
    // It has seen none of them.
    let two = node(&redis, &apps(""));
    let mut watcher = page_with_positions(&two);
    watcher.ask_since(CHANNEL, None);
    watcher.next();
    let mut page = page_with_positions(&two);
    let mut client = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let before = reads(&mut client);
    redis.pause();
    for position in &positions[..TIMES] {
        page.ask_since(CHANNEL, Some(position));
        page.unsubscribe(CHANNEL);
    }
    page.ask_since(CHANNEL, Some(&positions[TIMES]));
    page.send("pusher:ping", json!({}));
    for _ in 0..=TIMES {
        assert_eq!(page.next().0, SUCCEEDED);
    }
    page.expect("pusher:pong", "", &json!({}));
    redis.resume();
    let frames: Vec<_> =
        std::iter::repeat_with(|| page.next()).take_while(|(_, _, data)| *data != 99).collect();
    let first = i64::try_from(TIMES).unwrap() + 2;
    let recovered = json!({ "channel": CHANNEL, "count": 99 - first + 1 });
    let recovered = ("yamabiko:recovered".to_owned(), CHANNEL.to_owned(), recovered);
    let event = |number: i64| ("E".to_owned(), CHANNEL.to_owned(), json!(number));
    assert_eq!(frames, std::iter::once(recovered).chain((first..99).map(event)).collect::<Vec<_>>());
    say(&two, CHANNEL, 100);
    page.expect("E", CHANNEL, &json!(100));
    page.expect_quiet();
    // For the first and the last subscription; each of the others would have been read for as well.
    let read = reads(&mut client) - before;
    assert!(read < TIMES, "{read}");
}

#[test]
fn pages_that_claim_a_session_together_do_not_keep_each_other_from_it() {
    let server = serve(&apps(""));
    let mut elder = Page::of_session(&server, TOKEN);
    elder.subscribe(CHANNEL);
    // It does not read any more, and so does not answer.
    let target = format!("/app/page~{TOKEN}?protocol=7");
    let claim = || {
        let mut client = connect(&server, &target);
        let greeting = client.expect_json();
        assert_eq!(greeting["event"], "pusher:connection_established", "{greeting}");
        let socket_id = data(&greeting)["socket_id"].clone();
        // Answers pings, until another one takes the session over or both are served.
        client.send_json(&json!({ "event": "pusher:ping", "data": {} }));
        while client.text_or_end().is_some_and(|text| !text.contains("pusher:pong")) {}
        socket_id
    };
    let ids: Vec<Value> = std::thread::scope(|scope| {
        let claims: Vec<_> = (0..2).map(|_| scope.spawn(claim)).collect();
        claims.into_iter().map(|claim| claim.join().unwrap()).collect()
    });
    assert!(ids.contains(&json!(elder.socket_id)), "{ids:?}");
    // Each has asked it once, and waited.
    let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
    let count =
        |received: &[u8], text: &[u8]| received.windows(text.len()).filter(|part| part == &text).count();
    while count(&received, b"superseded") == 0 {
        let Ok(read @ 1..) = elder.client.stream().read(&mut buffer) else { break };
        received.extend_from_slice(&buffer[..read]);
    }
    let asked = count(&received, b"elder");
    assert!((1..=2).contains(&asked), "{asked}");
}
