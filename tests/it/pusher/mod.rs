//! The Pusher protocol, statement by statement, as a client of the real binary sees it.
mod channels;
mod events;
mod floods;
mod handshake;
mod nodes;
mod order;
pub(crate) mod page;
mod presence;
mod recovery;
mod recovery_again;
mod recovery_nodes;
mod recovery_outages;
mod recovery_slow_pages;
pub(crate) mod redis_broadcaster;
mod shutdown;
mod users;
mod webhooks;

use self::page::Page;
use crate::support::redis::RedisServer;
use crate::support::{Server, eventually};

/// One app with client events, and one of another kind.
pub(crate) const APPS: &str = r#"
[[apps]]
id = "1"
key = "page"
secret = "app-secret-of-the-tests"
client_events = true

[[apps]]
id = "2"
key = "other"
secret = "another-secret-of-the-tests"
"#;

/// A server of these apps, with the broker in memory.
fn serve(apps: &str) -> Server {
    Server::start(|options| {
        options.config(apps);
    })
}

/// A node of these apps on a Redis, ready.
fn node(redis: &RedisServer, apps: &str) -> Server {
    node_at(&redis.url(), apps)
}

/// A node that reaches its Redis at this URL.
fn node_at(redis: &str, apps: &str) -> Server {
    let server = Server::start(|options| {
        options.set("redis.url", redis).set("redis.prefix", "app-database-").config(apps);
    });
    eventually("the node is ready", || server.get_admin("/readyz").status == 200);
    server
}

/// Runs a test with each broker.
fn with_both(apps: &str, test: impl Fn(&Server)) {
    test(&serve(apps));
    let redis = RedisServer::start();
    test(&node(&redis, apps));
}
