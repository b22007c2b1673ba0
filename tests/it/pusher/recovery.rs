//! Sessions: pages that come back with their token.

use std::io::Read;
use std::time::Duration;

use serde_json::{Value, json};

use crate::pusher::page::{connect, deliver, get, member, post, trigger};
use crate::pusher::{APPS, Page, serve};
use crate::support::{Server, eventually};

/// Channels of the first app with a history.
const HISTORY: &str = r#"
[[apps.history]]
channels = ["private-h.*", "presence-h.*", "private-cache-h.*", "private-encrypted-h.*"]
messages = 100
age = "2m"
"#;

pub(super) const TOKEN: &str = "6f1c1f0e-8f5a-4d2e-9c58-7a3b1c2d4e5f";
pub(super) const OTHER_TOKEN: &str = "0b8d2c44-1111-4d2e-9c58-7a3b1c2d4e5f";

/// The first app with histories, before the other one.
pub(super) fn apps(more: &str) -> String {
    let (first, second) = APPS.split_at(APPS.rfind("[[apps]]").unwrap());
    format!("{more}\n{first}{HISTORY}{second}")
}

pub(super) fn say(server: &Server, channel: &str, number: i64) {
    trigger(server, &[channel], "E", &json!(number), None);
}

fn expect_numbers(page: &mut Page, channel: &str, numbers: std::ops::RangeInclusive<i64>) {
    for number in numbers {
        page.expect("E", channel, &json!(number));
    }
}

fn resumed(server: &Server) -> i64 {
    server.metric("yamabiko_pusher_sessions_resumed_total")
}

#[test]
fn a_page_that_comes_back_has_its_socket_id_and_what_it_has_missed() {
    let server = serve(&apps(""));
    let mut watcher = Page::open(&server);
    watcher.enter("presence-h.1", 1);
    let mut page = Page::of_session(&server, TOKEN);
    let socket_id = page.socket_id.clone();
    page.subscribe("private-h.1");
    page.enter("presence-h.1", 2);
    watcher.expect_added("presence-h.1", 2);
    say(&server, "private-h.1", 1);
    expect_numbers(&mut page, "private-h.1", 1..=1);
    page.prove(2);
    for round in 0..3 {
        page.client.vanish();
        let first = 2 + round * 10;
        for number in first..first + 10 {
            say(&server, "private-h.1", number);
        }
        say(&server, "presence-h.1", round);
        page = Page::of_session(&server, TOKEN);
        assert_eq!(page.socket_id, socket_id);
        let missed: Vec<Value> = (first..first + 10).map(Value::from).collect();
        assert_eq!(page.recover("private-h.1", None), missed);
        assert_eq!(page.recover("presence-h.1", Some(&member(2))), [json!(round)]);
        page.prove(2);
        page.expect_quiet();
        watcher.expect("E", "presence-h.1", &json!(round));
        watcher.expect_quiet();
    }
    say(&server, "private-h.1", 100);
    expect_numbers(&mut page, "private-h.1", 100..=100);
    assert_eq!(resumed(&server), 3);
    // The session ends with the page.
    page.client.leave_page();
    watcher.expect_removed("presence-h.1", 2);
    let page = Page::of_session(&server, TOKEN);
    assert_ne!(page.socket_id, socket_id);
    let logged = |text: &str| server.raw_log().iter().any(|line| line.contains(text));
    assert!(!logged(&TOKEN[..8]), "the token is in the log");
}

#[test]
fn a_page_that_gave_up_waiting_on_a_line_that_stood_still_keeps_its_session() {
    let server = serve(&apps(""));
    let mut watcher = Page::open(&server);
    watcher.enter("presence-h.1", 1);
    let mut gave_up = Page::of_session(&server, TOKEN);
    let id = gave_up.socket_id.clone();
    gave_up.enter("presence-h.1", 2);
    let mut disconnects = Page::of_session(&server, OTHER_TOKEN);
    disconnects.enter("presence-h.1", 3);
    for user in [2, 3] {
        watcher.expect_added("presence-h.1", user);
    }
    // What was held up arrives at once: pusher-js had asked, and closed when nothing came.
    gave_up.send("pusher:ping", json!({}));
    gave_up.client.close();
    disconnects.client.close();
    watcher.expect_removed("presence-h.1", 3);
    let mut page = Page::of_session(&server, TOKEN);
    assert_eq!(page.socket_id, id);
    assert_eq!(page.recover("presence-h.1", Some(&member(2))), [] as [Value; 0]);
    watcher.expect_quiet();
    // An answer that it had long before it closes is no reason to wait.
    page.expect_quiet();
    std::thread::sleep(Duration::from_millis(1100));
    page.client.close();
    watcher.expect_removed("presence-h.1", 2);
}

#[test]
fn what_was_not_proven_to_be_read_is_sent_again() {
    let server = serve(&apps(""));
    say(&server, "private-h.1", 0);
    let mut page = Page::of_session(&server, TOKEN);
    page.subscribe("private-h.1");
    let mut watcher = Page::open(&server);
    watcher.subscribe("private-h.1");
    say(&server, "private-h.1", 1);
    watcher.expect("E", "private-h.1", &json!(1));
    // The server has written it, and the page is gone before it answers.
    page.expect("E", "private-h.1", &json!(1));
    page.client.vanish();
    let mut page = Page::of_session(&server, TOKEN);
    assert_eq!(page.recover("private-h.1", None), [json!(1)]);
    // Until it has answered, all of it counts as missed.
    page.client.vanish();
    let mut page = Page::of_session(&server, TOKEN);
    say(&server, "private-h.1", 2);
    watcher.expect("E", "private-h.1", &json!(2));
    assert_eq!(page.recover("private-h.1", None), [json!(1), json!(2)]);
    page.prove(1);
    page.client.vanish();
    let mut page = Page::of_session(&server, TOKEN);
    assert_eq!(page.recover("private-h.1", None), [] as [Value; 0]);
}

#[test]
fn a_page_is_told_of_a_gap() {
    let server = serve(&apps(""));
    let mut page = Page::of_session(&server, TOKEN);
    page.subscribe("private-h.1");
    say(&server, "private-h.1", 0);
    page.expect("E", "private-h.1", &json!(0));
    page.prove(1);
    page.client.vanish();
    for number in 1..=101 {
        say(&server, "private-h.1", number);
    }
    let mut page = Page::of_session(&server, TOKEN);
    page.subscribe("private-h.1");
    page.expect("yamabiko:gap", "private-h.1", &json!({ "channel": "private-h.1" }));
    server.expect_metric(r#"yamabiko_pusher_recoveries_total{reason="gap"}"#, 1);
    // Gone before it has proven anything, it may not know of the gap. It goes on after it.
    for number in 102..=103 {
        page.client.vanish();
        say(&server, "private-h.1", number);
        page = Page::of_session(&server, TOKEN);
        page.subscribe("private-h.1");
        page.expect("yamabiko:gap", "private-h.1", &json!({ "channel": "private-h.1" }));
        expect_numbers(&mut page, "private-h.1", 102..=number);
    }
    page.prove(1);
    page.client.vanish();
    say(&server, "private-h.1", 104);
    let mut page = Page::of_session(&server, TOKEN);
    assert_eq!(page.recover("private-h.1", None), [json!(104)]);
}

#[test]
fn a_long_replay_is_sent_in_parts() {
    let settings = apps("[limits]\noutbox_bytes = 131072\n");
    let server = serve(&settings);
    let mut page = Page::of_session(&server, TOKEN);
    page.subscribe("private-h.1");
    say(&server, "private-h.1", 0);
    page.expect("E", "private-h.1", &json!(0));
    page.prove(1);
    page.client.vanish();
    let text = "x".repeat(9_000);
    for number in 0..60 {
        trigger(&server, &["private-h.1"], "E", &json!({ "number": number, "text": text }), None);
    }
    let mut page = Page::of_session(&server, TOKEN);
    let missed = page.recover("private-h.1", None);
    let numbers: Vec<i64> = missed.iter().map(|data| data["number"].as_i64().unwrap()).collect();
    assert_eq!(numbers, (0..60).collect::<Vec<i64>>());
    page.expect_quiet();
}

#[test]
fn what_a_session_excludes_is_not_replayed_to_it_either() {
    let server = serve(&apps(""));
    let mut page = Page::of_session(&server, TOKEN);
    page.subscribe("private-h.1");
    say(&server, "private-h.1", 0);
    page.expect("E", "private-h.1", &json!(0));
    page.prove(1);
    let id = page.socket_id.clone();
    page.client.vanish();
    trigger(&server, &["private-h.1"], "E", &json!(1), Some(&id));
    say(&server, "private-h.1", 2);
    let mut page = Page::of_session(&server, TOKEN);
    assert_eq!(page.recover("private-h.1", None), [json!(2)]);
    // And live.
    trigger(&server, &["private-h.1"], "E", &json!(3), Some(&id));
    page.expect_quiet();
}

#[test]
fn channels_that_are_not_subscribed_again_and_channels_without_history_behave_as_before() {
    let server = serve(&apps(""));
    let mut page = Page::of_session(&server, TOKEN);
    page.subscribe("news");
    page.subscribe("private-a");
    assert_eq!(page.enter("presence-a", 7), [7]);
    page.client.vanish();
    trigger(&server, &["news", "private-a"], "E", &json!(1), None);
    let mut page = Page::of_session(&server, TOKEN);
    page.subscribe("news");
    assert_eq!(page.enter("presence-a", 7), [7]);
    page.expect_quiet();
    trigger(&server, &["news"], "E", &json!(2), None);
    page.expect("E", "news", &json!(2));
    assert_eq!(
        get(&server, "/apps/1/channels/news", "&info=subscription_count").json()["subscription_count"],
        1
    );
}

#[test]
fn a_cache_channel_replays_its_last_event_once() {
    let server = serve(&apps(""));
    let mut page = Page::of_session(&server, TOKEN);
    say(&server, "private-cache-h.1", 1);
    deliver(&server);
    page.ask("private-cache-h.1", None);
    assert_eq!(page.next().0, "pusher_internal:subscription_succeeded");
    page.expect("E", "private-cache-h.1", &json!(1));
    page.prove(1);
    page.client.vanish();
    say(&server, "private-cache-h.1", 2);
    let mut page = Page::of_session(&server, TOKEN);
    assert_eq!(page.recover("private-cache-h.1", None), [json!(2)]);
    page.expect_quiet();
}

#[test]
fn a_user_that_signed_in_stays_online_and_can_be_terminated() {
    let server = serve(&apps(""));
    let mut watcher = Page::open(&server);
    watcher.sign_in(r#"{"id":"8","watchlist":["7"]}"#);
    assert_eq!(watcher.next().0, "pusher:signin_success");
    let mut page = Page::of_session(&server, TOKEN);
    page.sign_in(r#"{"id":"7"}"#);
    assert_eq!(page.next().0, "pusher:signin_success");
    assert_eq!(watcher.next().0, "pusher_internal:watchlist_events");
    page.client.vanish();
    let mut page = Page::of_session(&server, TOKEN);
    page.sign_in(r#"{"id":"7"}"#);
    assert_eq!(page.next().0, "pusher:signin_success");
    page.subscribe("#server-to-user-7");
    watcher.expect_quiet();
    let terminate = || {
        assert_eq!(post(&server, "/apps/1/users/7/terminate_connections", &json!({})).status, 200);
    };
    terminate();
    assert_eq!(page.next().0, "pusher:error");
    assert_eq!(page.client.expect_close().0, 4009);
    assert_eq!(watcher.next().0, "pusher_internal:watchlist_events");
    // A session without a connection ends as well.
    let mut page = Page::of_session(&server, OTHER_TOKEN);
    let id = page.socket_id.clone();
    page.sign_in(r#"{"id":"7"}"#);
    assert_eq!(page.next().0, "pusher:signin_success");
    assert_eq!(watcher.next().0, "pusher_internal:watchlist_events");
    page.client.vanish();
    eventually("it has gone", || server.metric("yamabiko_pusher_connections") == 1);
    terminate();
    assert_eq!(watcher.next().0, "pusher_internal:watchlist_events");
    assert_ne!(Page::of_session(&server, OTHER_TOKEN).socket_id, id);
}

#[test]
fn a_token_that_is_used_twice_stays_with_the_page_that_answers() {
    let server = serve(&apps(""));
    let mut elder = Page::of_session(&server, TOKEN);
    elder.subscribe("private-h.1");
    elder.prove(1);
    let answering = std::thread::spawn(move || {
        assert_eq!(elder.client.expect_ping(), b"elder");
        elder
    });
    let newcomer = Page::of_session(&server, TOKEN);
    let elder = answering.join().unwrap();
    assert_ne!(newcomer.socket_id, elder.socket_id);
    assert_eq!(resumed(&server), 0);
    // Now the elder is silent: it is superseded.
    let third = Page::of_session(&server, TOKEN);
    assert_eq!(third.socket_id, elder.socket_id);
    drop((newcomer, elder));
}

#[test]
fn connections_that_claim_a_session_at_the_same_time_do_not_keep_each_other_from_it() {
    let server = serve(&apps(""));
    // The line is half open: nothing is answered.
    let mut elder = Page::of_session(&server, TOKEN);
    elder.subscribe("private-h.1");
    let target = format!("/app/page~{TOKEN}?protocol=7&client=js&version=8.4.0&flash=false");
    // One of them breaks at once, and one waits together with the last one.
    connect(&server, &target).vanish();
    let waiting = connect(&server, &target);
    let last = Page::at(&server, &format!("page~{TOKEN}"), "");
    assert_eq!(last.socket_id, elder.socket_id);
    let mut received = Vec::new();
    let superseded = b"superseded";
    while !received.windows(superseded.len()).any(|bytes| bytes == superseded) {
        let mut bytes = [0; 4096];
        let length = elder.client.stream().read(&mut bytes).unwrap();
        assert_ne!(length, 0, "the reason was due");
        received.extend_from_slice(&bytes[..length]);
    }
    let pings = received.windows(5).filter(|bytes| bytes == b"elder").count();
    assert!((1..=3).contains(&pings), "each one asks once: {pings}");
    drop(waiting);
}

#[test]
fn a_session_belongs_to_its_app_and_its_origin() {
    let server = serve(&apps(""));
    let mut page = Page::of_session(&server, TOKEN);
    page.subscribe("private-h.1");
    let id = page.socket_id.clone();
    page.client.vanish();
    let target = format!("/app/page~{TOKEN}?protocol=7");
    let request =
        crate::support::Request::get(server.address, &*target).header("Origin", "https://other.example");
    let mut other = crate::support::Client::upgrade(request).unwrap();
    assert!(!other.expect_text().contains(&id));
    // The same page, with the token before the path.
    let mut same = connect(&server, &format!("/{TOKEN}/app/page?protocol=7"));
    assert!(same.expect_text().contains(&id));
}

#[test]
fn a_malformed_token_is_refused() {
    let server = serve(&apps(""));
    for token in ["", "short", &"a".repeat(65), "6f1c1f0e-8f5a-4d2e.9c58", "6f1c1f0e~8f5a~4d2e~9c58"] {
        let mut client = connect(&server, &format!("/app/page~{token}?protocol=7"));
        assert!(client.expect_text().contains("session token"), "{token}");
        assert_eq!(client.expect_close().0, 4001, "{token}");
    }
    // The key comes first.
    let mut client = connect(&server, &format!("/app/other-key~{TOKEN}?protocol=7"));
    assert!(client.expect_text().contains("no app has this key"));
}

/// A page that is told positions, and gives them when it comes back.
struct Positioned {
    page: Page,
    /// Of `private-h.1`.
    position: String,
}

impl Positioned {
    fn open(server: &Server) -> Self {
        deliver(server);
        let page = Page::at(server, "page", "&recovery=2");
        Self { page, position: String::new() }
    }

    fn subscribe(&mut self, since: Option<&str>) -> (String, Vec<Value>) {
        self.page.ask_since("private-h.1", since);
        let succeeded = self.page.client.expect_json();
        assert_eq!(succeeded["event"], "pusher_internal:subscription_succeeded");
        succeeded["id"].as_str().unwrap().clone_into(&mut self.position);
        if since.is_none() {
            return (String::new(), Vec::new());
        }
        let outcome = self.page.client.expect_json();
        let event = outcome["event"].as_str().unwrap().to_owned();
        let count = crate::pusher::page::data(&outcome)["count"].as_u64().unwrap_or_default();
        (event, (0..count).map(|_| self.next()).collect())
    }

    /// The data of the next event, whose position it notes.
    fn next(&mut self) -> Value {
        let frame = self.page.client.expect_json();
        frame["id"].as_str().unwrap_or_else(|| panic!("no id: {frame}")).clone_into(&mut self.position);
        crate::pusher::page::data(&frame)
    }
}

#[test]
fn a_page_with_positions_gets_everything_exactly_once() {
    let server = serve(&apps(""));
    say(&server, "private-h.1", 0);
    let mut first = Positioned::open(&server);
    first.subscribe(None);
    say(&server, "private-h.1", 1);
    assert_eq!(first.next(), json!(1));
    first.page.client.vanish();
    say(&server, "private-h.1", 2);
    say(&server, "private-h.1", 3);
    let mut second = Positioned::open(&server);
    let recovered = second.subscribe(Some(&first.position));
    assert_eq!(recovered, ("yamabiko:recovered".to_owned(), vec![json!(2), json!(3)]));
    say(&server, "private-h.1", 4);
    assert_eq!(second.next(), json!(4));
    // The position of a channel to which nothing has been said since.
    let mut quiet = Positioned::open(&server);
    quiet.subscribe(None);
    say(&server, "private-h.1", 5);
    let mut third = Positioned::open(&server);
    assert_eq!(third.subscribe(Some(&quiet.position)).1, [json!(5)]);
    for unreadable in ["", "x", "1-0", "deadbeef-1", &"9".repeat(100)] {
        let mut page = Positioned::open(&server);
        assert_eq!(page.subscribe(Some(unreadable)).0, "yamabiko:gap", "{unreadable}");
        say(&server, "private-h.1", 6);
        assert_eq!(page.next(), json!(6));
    }
}

#[test]
fn a_page_without_the_option_is_told_no_positions() {
    let server = serve(&apps(""));
    let mut page = Page::open(&server);
    page.ask("private-h.1", None);
    let succeeded =
        r#"{"event":"pusher_internal:subscription_succeeded","channel":"private-h.1","data":"{}"}"#;
    assert_eq!(page.client.expect_text(), succeeded);
    let mut other = Page::at(&server, "page", "&recovery=2");
    other.ask("private-h.1", None);
    assert!(other.client.expect_text().contains(r#""id":"s"#));
    say(&server, "private-h.1", 1);
    assert_eq!(page.client.expect_text(), r#"{"event":"E","channel":"private-h.1","data":"1"}"#);
    let with_id = other.client.expect_text();
    assert!(with_id.starts_with(r#"{"event":"E","channel":"private-h.1","data":"1","id":""#), "{with_id}");
}
