//! What a client receives while the connections between its node and Redis break, and while Redis does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use yamabiko::broker::{Inbound, PublishError};
use yamabiko::message::Retention;

use super::{Node, PATIENCE, PREFIX, event};
use crate::support::redis::RedisServer;
use crate::support::{Client, Server, claims, eventually};

const CHANNEL: &str = "chat:room";

/// The same on all nodes.
const RETENTION: Retention = Retention { messages: 10_000, age: Duration::from_secs(600) };

/// Whether a message was accepted. Absent: its outcome is not known yet.
type Outcomes = Arc<Mutex<BTreeMap<usize, Result<(), PublishError>>>>;

/// A node with a client, and another node that publishes without a pause.
struct World {
    redis: RedisServer,
    server: Server,
    /// The ID in Redis of the server's subscribed connection.
    subscription: String,
    reader: thread::JoinHandle<Vec<usize>>,
    node: Arc<Node>,
    outcomes: Outcomes,
    stop: Arc<AtomicBool>,
    publishing: JoinHandle<()>,
}

/// What still runs at the end.
struct Still {
    server: Server,
    _redis: RedisServer,
}

impl Still {
    fn interruptions(&self) -> i64 {
        self.server.metric("yamabiko_broker_interruptions_total")
    }
}

/// Ends what the client reads.
const LAST: usize = usize::MAX;

fn serve(url: &str) -> Server {
    Server::start(|options| {
        options.set("redis.url", url).set("redis.prefix", PREFIX);
        options.config("[channels.chat]\nfields = [\"n\", \"message\"]\nhistory = { messages = 10000, age = \"10m\" }\n[channels.tweet]\n");
    })
}

impl World {
    async fn start(redis: RedisServer) -> Self {
        let server = serve(&redis.url());
        eventually("a node that is ready", || server.get_admin("/readyz").status == 200);
        let mut operator = redis.client().await;
        let list = redis::cmd("CLIENT").arg(&["LIST", "TYPE", "pubsub"]).take();
        let list: String = list.query_async(&mut operator).await.unwrap();
        let subscription = list.split(' ').next().unwrap().strip_prefix("id=").unwrap().to_owned();
        let client = Client::connect(&server, &claims(1, "Ren", CHANNEL)).expect("upgraded");
        let reader = thread::spawn(move || read(client));
        let mut node = Node::start_with(&redis.url(), RETENTION, Duration::from_secs(2));
        node.ready().await;
        // What it receives itself is of no interest.
        let mut inbound = std::mem::replace(&mut node.inbound, tokio::sync::mpsc::unbounded_channel().1);
        tokio::spawn(async move {
            while let Some(inbound) = inbound.recv().await {
                if let Inbound::Fence(handled) = inbound {
                    let _ = handled.send(());
                }
            }
        });
        let (node, outcomes, stop) = (Arc::new(node), Outcomes::default(), Arc::new(AtomicBool::new(false)));
        let publishing = tokio::spawn(publish(node.clone(), outcomes.clone(), stop.clone()));
        let world = Self { redis, server, subscription, reader, node, outcomes, stop, publishing };
        world.flow().await;
        world
    }

    fn accepted(&self) -> usize {
        self.outcomes.lock().unwrap().values().filter(|outcome| outcome.is_ok()).count()
    }

    /// Waits until more messages are accepted.
    async fn flow(&self) {
        let enough = self.accepted() + 200;
        let waiting = async {
            while self.accepted() < enough {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("messages that are accepted");
    }

    /// What was sent when a connection broke is sent again, so that every sender is told the truth.
    fn expect_certainty(&self) {
        let outcomes = self.outcomes.lock().unwrap();
        let is_unknown = |outcome: &&Result<(), _>| **outcome == Err(PublishError::TimedOut);
        assert_eq!(outcomes.values().filter(is_unknown).count(), 0);
    }

    async fn command(&self, arguments: &[&str]) -> redis::Value {
        let mut client = self.redis.client().await;
        redis::cmd(arguments[0]).arg(&arguments[1..]).query_async(&mut client).await.unwrap()
    }

    /// Ends the publishing, and returns what the client has received. Everything that is certain in any case is checked.
    async fn end(self) -> (Vec<usize>, BTreeMap<usize, Result<(), PublishError>>, Still) {
        self.flow().await;
        self.stop.store(true, Ordering::Relaxed);
        self.publishing.await.unwrap();
        while self.node.publish(event(CHANNEL, LAST)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let received = tokio::task::spawn_blocking(|| self.reader.join().unwrap()).await.unwrap();
        let outcomes = std::mem::take(&mut *self.outcomes.lock().unwrap());
        assert!(received.is_sorted_by(|one, next| one < next), "out of order, or twice: {received:?}");
        let set: BTreeSet<usize> = received.iter().copied().collect();
        let refused = outcomes.iter().filter(|(_, outcome)| outcome.is_err()).map(|(number, _)| *number);
        let delivered: Vec<usize> = refused.filter(|number| set.contains(number)).collect();
        assert!(delivered.is_empty(), "refused and delivered: {delivered:?}");
        (received, outcomes, Still { server: self.server, _redis: self.redis })
    }

    /// Like [`World::end`], where nothing may be missing.
    async fn end_complete(self) -> Still {
        let (received, outcomes, still) = self.end().await;
        let received: BTreeSet<usize> = received.into_iter().collect();
        let accepted = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(number, _)| *number);
        let lost: Vec<usize> = accepted.filter(|number| !received.contains(number)).collect();
        assert!(lost.is_empty(), "accepted and lost: {lost:?}");
        still
    }
}

fn read(mut client: Client) -> Vec<usize> {
    let mut received = Vec::new();
    loop {
        let message = client.expect_json();
        if message["type"] != "message" {
            continue;
        }
        let number = message["data"]["n"].as_u64().map(|number| usize::try_from(number).unwrap());
        match number.unwrap_or_else(|| panic!("{message}")) {
            LAST => return received,
            number => received.push(number),
        }
    }
}

/// Publishes numbered messages, several at a time.
async fn publish(node: Arc<Node>, outcomes: Outcomes, stop: Arc<AtomicBool>) {
    let mut next = 0;
    let mut pending = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..4 {
            let (number, outcomes) = (next, outcomes.clone());
            next += 1;
            let published = node.broker.publish_and_wait(event(CHANNEL, number).into());
            pending.push(tokio::spawn(async move {
                let outcome = published.await.map(drop);
                outcomes.lock().unwrap().insert(number, outcome);
            }));
        }
        pending.retain(|one| !one.is_finished());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for one in pending {
        one.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_subscriptions_miss_nothing() {
    let world = World::start(RedisServer::start()).await;
    for _ in 0..5 {
        world.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        world.flow().await;
    }
    let still = world.end_complete().await;
    assert!(still.interruptions() >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_publishing_connections_lose_and_repeat_nothing() {
    let world = World::start(RedisServer::start()).await;
    for _ in 0..20 {
        world.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        world.flow().await;
    }
    world.expect_certainty();
    world.end_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_connections_killed_at_once_miss_nothing() {
    let world = World::start(RedisServer::start()).await;
    for _ in 0..5 {
        world
            .command(&[
                "CLIENT",
                "KILL",
                "SKIPME",
                "yes",
                "LADDR",
                &format!("127.0.0.1:{}", world.redis.port()),
            ])
            .await;
        world.flow().await;
    }
    world.expect_certainty();
    world.end_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_thrown_out_for_its_output_buffer_misses_nothing() {
    let world = World::start(RedisServer::start()).await;
    world.command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 64kb 0 0"]).await;
    world.server.signal(Signal::STOP);
    let topic = format!("{PREFIX}broadcast");
    let blob = "x".repeat(60_000);
    let mut client = world.redis.client().await;
    // Neither the kernel nor Redis has room for all of this.
    let thrown_out = async {
        loop {
            let ballast = format!(r#"{{"channel":"tweet:","data":{{"tweet":"{blob}"}}}}"#);
            let _: u64 =
                redis::cmd("PUBLISH").arg(&topic).arg(ballast).query_async(&mut client).await.unwrap();
            let list = redis::cmd("CLIENT").arg(&["LIST", "ID", &world.subscription]).take();
            if list.query_async::<String>(&mut client).await.unwrap().trim().is_empty() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, thrown_out).await.expect("that it is thrown out");
    world.command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 32mb 8mb 60"]).await;
    world.flow().await;
    world.server.signal(Signal::CONT);
    let still = world.end_complete().await;
    assert!(still.interruptions() >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_a_redis_that_persists_misses_nothing() {
    let redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut world = World::start(redis).await;
    for _ in 0..2 {
        world.redis.restart();
        world.flow().await;
    }
    world.end_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgets_everything_becomes_another_store() {
    let mut world = World::start(RedisServer::start()).await;
    let before = world.node.broker.store_state(None).await.unwrap();
    world.redis.restart();
    world.flow().await;
    let after = world.node.broker.store_state(None).await.unwrap();
    assert_ne!(before.store, after.store);
    let started = world.accepted();
    world.flow().await;
    let (received, outcomes, still) = world.end().await;
    // What is published once the node is back arrives.
    let accepted = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(number, _)| *number);
    let received: BTreeSet<usize> = received.into_iter().collect();
    let lost: Vec<usize> = accepted.skip(started).filter(|number| !received.contains(number)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    let log = still.server.log();
    assert!(
        log.iter().any(|line| line["message"]
            == "the store of histories has lost messages: clients that have missed some are told"),
        "{log:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn flushed_scripts_lose_nothing() {
    let world = World::start(RedisServer::start()).await;
    for _ in 0..5 {
        world.command(&["SCRIPT", "FLUSH"]).await;
        world.flow().await;
    }
    let still = world.end_complete().await;
    assert_eq!(still.interruptions(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_redis_delivers_nothing_that_was_refused() {
    let world = World::start(RedisServer::start()).await;
    world.redis.pause();
    // Longer than the senders wait.
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.redis.resume();
    world.flow().await;
    world.end_complete().await;
}

#[test]
fn without_the_permissions_only_channels_with_a_history_are_unavailable() {
    let acl = format!(
        "aoi on >pass resetchannels &{PREFIX}* -@all +subscribe +unsubscribe +publish +ping +time +evalsha +script|load"
    );
    let mut arguments = vec!["--user"];
    arguments.extend(acl.split(' '));
    let redis = RedisServer::start_with(&arguments);
    let server = serve(&redis.url_as("aoi:pass"));
    eventually("a node that is ready", || server.get_admin("/readyz").status == 200);
    let mut chat = Client::connect(&server, &claims(1, "Ren", CHANNEL)).expect("upgraded");
    let mut tweets = Client::connect(&server, &claims(2, "Yui", "tweet:")).expect("upgraded");
    let said = |client: &mut Client, data: Value| {
        client.say(&data);
        client.expect_json()
    };
    assert_eq!(said(&mut chat, json!({ "message": "山" }))["error"]["code"], "unavailable");
    assert_eq!(said(&mut tweets, json!({ "tweet": "山" }))["ok"], true);
    assert_eq!(tweets.expect_json()["data"]["tweet"], "山");
    assert_eq!(said(&mut chat, json!({ "message": "山" }))["error"]["code"], "unavailable");
    let log = server.log();
    let denied: Vec<&Value> = log
        .iter()
        .filter(|line| {
            line["message"].as_str().is_some_and(|text| text.starts_with("history denied by the Redis ACL"))
        })
        .collect();
    let [line] = denied[..] else { panic!("{log:#?}") };
    let hint = line["hint"].as_str().unwrap();
    assert!(hint.contains(&format!("~{PREFIX}yamabiko:*")) && hint.contains("+xadd"), "{hint}");
}
