//! What one message and one handshake cost before a socket is touched: decode, rules, encode, token.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a benchmark that panics has failed")]

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use yamabiko::auth::{Authenticator, TokenIssuer};
use yamabiko::config::{AuthKeys, Config, Environment, load};
use yamabiko::message::{ChannelName, Event, Sender};
use yamabiko::protocol::native::{ENCODING, Native};

/// The settings as they are shipped, with this secret.
fn config(secret: &str, algorithm: &str) -> Config {
    let variables = [("YAMABIKO__AUTH__SECRET", secret), ("YAMABIKO__AUTH__ALGORITHMS", algorithm)];
    let environment: Environment = variables.into_iter().collect();
    load(None, &environment, AuthKeys::Required).unwrap()
}

/// A client's bytes to an event, and an event to the frame that all receivers share.
fn native(c: &mut Criterion) {
    let native = Native::new(&config("a secret of 32 bytes or even more", "HS256").settings.server.channels);
    let without_rules = Native::new(&HashMap::new());
    let channel = ChannelName::new("chat:room1").unwrap();
    let sender = Sender { name: "Aoi".into(), id: 7.into() };
    let mut group = c.benchmark_group("native");
    for bytes in [64, 1024, 16 * 1024] {
        let text = "x".repeat(bytes);
        let message = Bytes::from(format!(r#"{{"data":{{"message":"{text}","name":"Aoi"}}}}"#));
        group.throughput(Throughput::Bytes(message.len() as u64));
        for (rules, native) in [("chat", &native), ("no rules", &without_rules)] {
            group.bench_function(format!("decode, {rules}, {bytes} bytes"), |b| {
                b.iter(|| native.receive(&channel, &sender, black_box(&message)).unwrap());
            });
            let event: Event = native.receive(&channel, &sender, &message).unwrap();
            group.bench_function(format!("encode, {rules}, {bytes} bytes"), |b| {
                b.iter(|| native.deliver(black_box(&event), None, ENCODING, |_, _| ()).unwrap());
            });
        }
    }
    group.finish();
}

/// What a handshake costs beyond HTTP.
fn token(c: &mut Criterion) {
    let channel = ChannelName::new("chat:room1").unwrap();
    let mut group = c.benchmark_group("token");
    for algorithm in ["HS256", "HS512"] {
        let settings =
            config("a secret of 64 bytes, as HS512 wants it, or at least nearly so….", algorithm).settings;
        let auth = settings.server.auth;
        let token =
            TokenIssuer::new(&auth).unwrap().issue(&7.into(), "Aoi", &channel, Duration::from_secs(3600));
        let authenticator = Authenticator::new(&auth).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        group.bench_function(format!("verify, {algorithm}"), |b| {
            b.iter(|| authenticator.verify(black_box(&token), now).unwrap());
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    targets = native, token
}
criterion_main!(benches);
