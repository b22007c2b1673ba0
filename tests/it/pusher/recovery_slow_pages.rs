//! Pages that have not read what their node has sent them when it ends without a word.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::pusher::recovery::{OTHER_TOKEN, TOKEN, apps, say};
use crate::pusher::{Page, node};
use crate::support::redis::RedisServer;
use crate::support::{Server, eventually};

const CHANNEL: &str = "private-h.1";

/// Waits until the node has told the others that its pages have read everything that is stored now, except for those that it names.
fn expect_sign_of_life(redis: &RedisServer) {
    let mut client = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let key = |client: &mut redis::Connection, pattern: &str| {
        let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(client).unwrap();
        let [key] = &keys[..] else { panic!("{keys:?}") };
        key.clone()
    };
    let (store, node) = (key(&mut client, "*yamabiko:store"), key(&mut client, "*yamabiko:node:*"));
    let next: Vec<u64> = redis::cmd("HVALS").arg(&store).query(&mut client).unwrap();
    let stored = next.into_iter().max().unwrap() - 1;
    eventually("the node says that its pages have read everything", || {
        let text: String = redis::cmd("HGET").arg(&node).arg("all").query(&mut client).unwrap();
        text.split_once(' ').is_some_and(|(_, number)| number.parse::<u64>().unwrap() >= stored)
    });
}

fn page_that_has_read(node: &Server, token: &str) -> Page {
    let mut page = Page::of_session(node, token);
    page.subscribe(CHANNEL);
    page.prove(1);
    page
}

/// Ends a node without a word. One that only stands still is returned.
fn end(node: Server, signal: Signal) -> Option<Server> {
    node.signal(signal);
    (signal == Signal::STOP).then_some(node)
}

/// What a page receives on another node that it had missed.
fn missed_on(node: &Server, token: &str, page: &Page) -> Vec<Value> {
    let mut next = Page::of_session(node, token);
    assert_eq!(next.socket_id, page.socket_id);
    next.recover(CHANNEL, None)
}

#[test]
fn a_page_that_reads_slowly_misses_nothing_when_its_node_ends() {
    for signal in [Signal::KILL, Signal::STOP] {
        let redis = RedisServer::start();
        let (one, two) = (node(&redis, &apps("")), node(&redis, &apps("")));
        let slow = page_that_has_read(&one, TOKEN);
        let mut quick = page_that_has_read(&one, OTHER_TOKEN);
        for number in 1..=3 {
            say(&one, CHANNEL, number);
            quick.expect("E", CHANNEL, &json!(number));
        }
        quick.prove(1);
        expect_sign_of_life(&redis);
        let _frozen = end(one, signal);
        assert_eq!(missed_on(&two, TOKEN, &slow), [json!(1), json!(2), json!(3)], "{signal:?}");
        assert_eq!(missed_on(&two, OTHER_TOKEN, &quick), [] as [Value; 0], "{signal:?}");
    }
}

#[test]
fn a_page_that_has_not_read_what_it_missed_gets_it_again_when_its_node_ends() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis, &apps("")), node(&redis, &apps("")));
    page_that_has_read(&one, TOKEN).client.vanish();
    eventually("the session is kept", || one.metric("yamabiko_pusher_connections") == 0);
    for number in 1..=3 {
        say(&one, CHANNEL, number);
    }
    let mut slow = Page::of_session(&one, TOKEN);
    slow.ask(CHANNEL, None);
    one.expect_metric("yamabiko_messages_recovered_total", 3);
    expect_sign_of_life(&redis);
    end(one, Signal::KILL);
    assert_eq!(missed_on(&two, TOKEN, &slow), [json!(1), json!(2), json!(3)]);
}
