//! A connection on several channels sees one order.

use serde_json::{Value, json};

use crate::pusher::page::{post, trigger};
use crate::pusher::{APPS, Page, node, with_both};
use crate::support::redis::RedisServer;

const CHANNELS: [&str; 2] = ["a", "private-b"];

/// Messages in flight at once.
const IN_FLIGHT: usize = 64;

/// Where the message of this number goes: the two channels in turn, and now and then twice the same.
fn channel_of(number: usize) -> &'static str {
    CHANNELS[(number + number / 7) % 2]
}

fn pages(server: &crate::support::Server) -> (Vec<Page>, Page) {
    let mut both: Vec<Page> = (0..5).map(|_| Page::open(server)).collect();
    for (index, page) in both.iter_mut().enumerate() {
        page.subscribe(CHANNELS[index % 2]);
        page.subscribe(CHANNELS[(index + 1) % 2]);
    }
    let mut one = Page::open(server);
    one.subscribe(CHANNELS[0]);
    (both, one)
}

/// The page on both channels receives all of these numbers, and each page on one channel receives its share.
fn expect(both: &mut [Page], one: &mut Page, numbers: std::ops::Range<usize>) {
    for page in &mut *both {
        for number in numbers.clone() {
            page.expect("E", channel_of(number), &json!(number));
        }
    }
    for number in numbers.filter(|number| channel_of(*number) == CHANNELS[0]) {
        one.expect("E", CHANNELS[0], &json!(number));
    }
}

fn batch(numbers: impl Iterator<Item = usize>) -> Value {
    let event = |number| json!({ "name": "E", "channel": channel_of(number), "data": number.to_string() });
    json!({ "batch": numbers.map(event).collect::<Vec<_>>() })
}

#[test]
fn a_batch_over_http_keeps_its_order_across_channels() {
    with_both(APPS, |server| {
        let (mut both, mut one) = pages(server);
        for round in 0..50 {
            let numbers = round * 10..(round + 1) * 10;
            assert_eq!(post(server, "/apps/1/batch_events", &batch(numbers.clone())).status, 200);
            expect(&mut both, &mut one, numbers);
        }
        // One event for several channels comes in the order in which they are named.
        for (first, second) in [(0, 1), (1, 0)] {
            trigger(server, &[CHANNELS[first], CHANNELS[second]], "E", &json!("x"), None);
            for page in &mut both {
                page.expect("E", CHANNELS[first], &json!("x"));
                page.expect("E", CHANNELS[second], &json!("x"));
            }
            one.expect("E", CHANNELS[0], &json!("x"));
        }
    });
}

#[test]
fn redis_messages_keep_their_order_across_channels_under_load() {
    let redis = RedisServer::start();
    let servers = [node(&redis, APPS), node(&redis, APPS)];
    let mut pages: Vec<_> = servers.iter().map(pages).collect();
    let mut laravel = ::redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    for round in 0..40 {
        let numbers = round * IN_FLIGHT..(round + 1) * IN_FLIGHT;
        let mut pipeline = ::redis::pipe();
        for number in numbers.clone() {
            let payload = json!({ "event": "E", "data": number, "socket": null }).to_string();
            pipeline.cmd("PUBLISH").arg(format!("app-database-{}", channel_of(number))).arg(payload);
        }
        let receivers: Vec<i64> = pipeline.query(&mut laravel).unwrap();
        assert!(receivers.iter().all(|count| *count == 2), "{receivers:?}");
        // Every few rounds, so that the next one meets what is still under way.
        if round % 4 == 3 {
            for (both, one) in &mut pages {
                expect(both, one, (round - 3) * IN_FLIGHT..(round + 1) * IN_FLIGHT);
            }
        }
    }
}
