//! Thousands of connections that come and go.

use std::thread;

use serde_json::json;

use super::{Others, connect, connect_as, resident, start};
use crate::support::{Client, claims, eventually};

#[test]
fn memory_returns_after_thousands_of_connections() {
    const ROUND: usize = 2000;
    let server = start(|_| {});
    let mut others = Others::join(&server);
    let come_and_go = || {
        thread::scope(|scope| {
            for user in 0..4 {
                let server = &server;
                scope.spawn(move || {
                    for number in 0..ROUND / 4 {
                        let claims = claims(user, "x", &format!("passing:{user},{number}"));
                        match number % 4 {
                            0 => Client::connect(server, &claims).unwrap().close(),
                            1 => drop(connect(server, "chat:")),
                            2 => {
                                let mut client = Client::connect(server, &claims).unwrap();
                                client.say(&json!({ "x": "y".repeat(2000) }));
                                client.vanish();
                            }
                            _ => assert_eq!(Client::with_token(server, "junk").unwrap_err().status, 401),
                        }
                    }
                });
            }
        });
        eventually("all gone", || server.metric("yamabiko_connections") == 2);
        eventually("their channels gone", || server.metric("yamabiko_channels") == 1);
        resident(&server)
    };
    // How many are there at the same time differs from round to round, and what that takes once stays.
    let before = come_and_go().max(come_and_go());
    come_and_go();
    come_and_go();
    let after = come_and_go();
    others.talk();
    let grown = after.saturating_sub(before);
    assert!(grown < 3 << 20, "{grown} bytes stay after {} came and went", 3 * ROUND);
}

#[test]
fn connection_churn_loses_no_messages_of_others() {
    let server = start(|_| {});
    let mut others = Others::join(&server);
    thread::scope(|scope| {
        for user in 100..103 {
            let server = &server;
            scope.spawn(move || {
                for _ in 0..150 {
                    let mut raw = connect_as(server, user, "chat:");
                    raw.write_text(r#"{"data":{"target_user_id":1000}}"#);
                    drop(raw);
                }
            });
        }
        for _ in 0..300 {
            others.talk();
        }
    });
    eventually("all gone", || server.metric("yamabiko_connections") == 2);
}
