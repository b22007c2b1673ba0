//! Random bytes for everything that parses untrusted input: clients' messages, tokens, frames on the wire, what is
//! published in Redis, settings.
//!
//! The seed is fixed, so that a run repeats itself. `PROPTEST_RNG_SEED` and `PROPTEST_CASES` change that:
//! `PROPTEST_CASES=1000000 PROPTEST_RNG_SEED=$RANDOM cargo test --release --test it fuzz_smoke::`.
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Cursor;
use std::sync::LazyLock;

use crate::support::redis::RedisServer;
use crate::support::{Client, Raw, Request, SECRET, Server, claims, token};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use yamabiko::auth::{Authenticator, Jwks};
use yamabiko::config::{self, AuthKeys, Environment, Settings};
use yamabiko::history::Since;
use yamabiko::message::{Audience, ChannelName, Revocation, Sender};
use yamabiko::protocol::native::{ENCODING, Native, RejectReason, RenewalRequest};

#[test]
fn random_native_messages_are_accepted_or_rejected_never_misread() {
    let native = Native::new(&DEFAULTS.server.channels);
    let sender = Sender { name: "Aoi \"\\\u{2028}".into(), id: i64::MIN.into() };
    let channels = ["chat:default", "tweet:", "other"].map(|name| ChannelName::new(name).unwrap());
    run(4_000, &(mutations(MESSAGES), select(channels.to_vec())), |(message, channel)| {
        let message = Bytes::from(message);
        let received = native.receive(&channel, &sender, &message);
        // What renews a token is no message.
        if let Some(request) = RenewalRequest::decode(&message) {
            let _ = request.token();
            prop_assert_eq!(received.as_ref().err(), Some(&RejectReason::InvalidMessage));
        }
        // With a `ref` the same is accepted, unless it is invalid.
        let (message_ref, with_ref) = native.receive_with_ref(&channel, &sender, &message);
        if let Ok(event) = &with_ref {
            prop_assert_eq!(&event.data, &received.as_ref().unwrap().data);
        }
        if message_ref.is_some() {
            prop_assert_eq!(received.as_ref().err(), with_ref.as_ref().err());
        }
        let Ok(event) = received else { return Ok(()) };

        // The accepted text is the message's `data`, unchanged.
        let whole: HashMap<String, &RawValue> = serde_json::from_slice(&message).unwrap();
        prop_assert_eq!(text(&event.data), whole["data"].get());
        prop_assert_eq!((&event.channel, &event.sender), (&channel, &sender));

        // And it can be delivered: one whole text frame of JSON, without what the rules take away.
        let (audience, frame) = native.deliver(&event, None, ENCODING, |_, _| ()).unwrap();
        let mut wire = Cursor::new(frame.bytes());
        let (header, length) = FrameHeader::parse(&mut wire).unwrap().unwrap();
        prop_assert!(header.is_final && header.mask.is_none() && header.opcode == OpCode::Data(Data::Text));
        let payload = &frame.bytes()[usize::try_from(wire.position()).unwrap()..];
        prop_assert_eq!(payload.len() as u64, length);
        let Ok(data) = serde_json::from_slice::<Value>(&event.data) else {
            // A lone surrogate (`"\ud800"`) is in JSON's grammar and in JavaScript's strings, but not in Rust's.
            prop_assert!(serde_json::from_slice::<&RawValue>(payload).is_ok());
            return Ok(());
        };
        let delivered: Value = serde_json::from_slice(payload).unwrap();
        prop_assert_eq!(&delivered["sender"], &json!({ "name": &*sender.name, "id": sender.id }));
        let fields: Vec<&str> = delivered["data"].as_object().unwrap().keys().map(String::as_str).collect();
        match channel.kind() {
            "chat" => {
                prop_assert!(fields.iter().all(|name| ["message", "name"].contains(name)), "{fields:?}");
            }
            "tweet" => prop_assert!(fields.iter().all(|name| *name == "tweet"), "{fields:?}"),
            _ => prop_assert_eq!(&delivered["data"], &data),
        }
        prop_assert!(channel.kind() == "chat" || audience == Audience::Everyone);
        Ok(())
    });
}

#[test]
fn only_the_genuine_token_is_accepted() {
    let authenticator = Authenticator::new(&DEFAULTS.server.auth).unwrap();
    let genuine = token(&claims(7, "Aoi", "chat:default"));
    let now = 0;
    assert!(authenticator.verify(&genuine, now).is_ok());
    run(4_000, &mutations(&[&genuine]), |bytes| {
        let Ok(forged) = String::from_utf8(bytes) else { return Ok(()) };
        prop_assert_eq!(authenticator.verify(&forged, now).is_ok(), forged == genuine, "{}", forged);
        Ok(())
    });
}

#[test]
fn random_claims_never_panic_the_authenticator() {
    let authenticator = Authenticator::new(&DEFAULTS.server.auth).unwrap();
    run(2_000, &json_value(), |value| {
        // Signed with the right secret, and still arbitrary.
        if let Ok(identity) = authenticator.verify(&token(&value), 0) {
            prop_assert!(
                (value["id"].is_i64() || value["id"].is_string())
                    && value["name"].is_string()
                    && value["channel"].is_string()
            );
            prop_assert_eq!(Some(identity.channel.as_str()), value["channel"].as_str());
        }
        Ok(())
    });
}

#[test]
fn every_refused_setting_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("yamabiko.toml");
    let shipped = include_str!("../../config/default.toml");
    let samples = [
        shipped,
        "[channels.x]\nfields = []\n[[auth.keys]]\nalgorithm = \"HS256\"\nsecret = \"s\"\n",
        "[channels.x]\nhistory = { messages = 1, age = \"1s\" }\n[[pusher.history]]\nchannels = [\"a.*\"]\nmessages = 1\nage = \"1s\"\n",
        "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s\"\npong_timeout = \"1s\"\n[[apps.webhooks]]\nurl = \"http://a\"\n",
    ];
    let variable = select(VARIABLES).prop_flat_map(|name| (Just(name), "\\PC{0,12}"));
    run(200, &(mutations(&samples), vec(variable, 0..3)), |(toml, variables)| {
        std::fs::write(&file, toml).unwrap();
        let environment: Environment = variables.into_iter().collect();
        match config::load(Some(&file), &environment, AuthKeys::Required) {
            Ok(_) => {}
            Err(problems) => prop_assert!(!problems.0.is_empty() && !problems.to_string().is_empty()),
        }
        Ok(())
    });
}

#[test]
fn random_key_sets_are_refused_or_have_keys() {
    let samples = [
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
        r#"{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}]}"#,
    ];
    assert!(Jwks::parse(samples[0].as_bytes()).is_ok());
    run(4_000, &mutations(&samples), |bytes| {
        if let Ok(keys) = Jwks::parse(&bytes) {
            prop_assert!(!keys.is_empty());
        }
        Ok(())
    });
}

#[test]
fn random_revocations_are_refused_or_read_back() {
    let samples = [r#"{"user":7,"before":17,"until":18}"#, r#"{"user":"a"}"#, r#"{"jti":"a","until":0}"#];
    run(4_000, &mutations(&samples), |bytes| {
        let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
        if let Ok(revocation) = Revocation::from_json(&text) {
            prop_assert_eq!(Revocation::from_json(&revocation.to_json()), Ok(revocation));
        }
        Ok(())
    });
}

#[test]
fn random_positions_are_refused_or_read_back() {
    let samples = ["9f3c20-17", "s9f3c20-17", "ffffffffffffffff-18446744073709551615", "s0-0"];
    run(4_000, &mutations(&samples), |bytes| {
        let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
        if let Ok(since) = text.parse::<Since>() {
            prop_assert_eq!(since.to_string(), text);
        }
        Ok(())
    });
}

#[test]
fn random_frames_never_end_the_server_or_another_connection() {
    let server = Server::start(|options| {
        options.set("limits.messages_per_second", 0);
    });
    let mut witness = Client::connect(&server, &claims(1, "Witness", "quiet")).unwrap();
    let token = token(&claims(7, "Aoi", "chat:default"));
    let opcode = select(vec![
        OpCode::Data(Data::Continue),
        OpCode::Data(Data::Text),
        OpCode::Data(Data::Binary),
        OpCode::Data(Data::Reserved(3)),
        OpCode::Control(Control::Close),
        OpCode::Control(Control::Ping),
        OpCode::Control(Control::Pong),
        OpCode::Control(Control::Reserved(11)),
    ]);
    let frame = (opcode, mutations(MESSAGES)).prop_map(|(opcode, payload)| Raw::frame(opcode, &payload));
    let stream = vec(frame, 1..6).prop_map(|frames| frames.concat()).prop_flat_map(mutated);
    run(300, &(stream, 1..64_usize), |(bytes, chunk)| {
        let mut raw = Client::raw(Request::get(server.address, format!("/?token={token}"))).unwrap();
        for chunk in bytes.chunks(chunk) {
            // The server may have hung up, which is a good answer to this.
            if raw.try_write(chunk).is_err() {
                break;
            }
        }
        Ok(())
    });
    witness.say(&json!({ "still": "here" }));
    witness.expect_sent();
    assert_eq!(witness.expect_json()["data"], json!({ "still": "here" }));
    crate::support::eventually("all others are gone", || server.metric("yamabiko_connections") == 1);
    expect_no_panic(&server);
}

#[test]
fn random_requests_never_end_the_server() {
    let server = Server::start(|_| {});
    let token = token(&claims(7, "Aoi", "chat:default"));
    let upgrade = format!(
        "GET /?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let since = upgrade.replace(" HTTP/1.1", "&since=9f3c20-17 HTTP/1.1");
    run(300, &mutations(&[&upgrade, &since, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"]), |bytes| {
        let mut raw = Raw::connect(server.address);
        let _ = raw.try_write(&bytes);
        Ok(())
    });
    assert_eq!(server.get("/healthz").status, 200);
    expect_no_panic(&server);
}

#[test]
fn random_ids_are_answered_with_what_was_missed_or_with_a_gap() {
    let server = Server::start(|options| {
        options.config("[channels.notes]\nhistory = { messages = 100, age = \"10m\" }\n");
    });
    let token = token(&claims(7, "Aoi", "notes:"));
    let connect = |since: &[u8]| {
        let since = percent_encoding::percent_encode(since, percent_encoding::NON_ALPHANUMERIC).to_string();
        Client::upgrade(Request::get(server.address, format!("/?token={token}&since={since}"))).unwrap()
    };
    let mut first = connect(b"");
    let start = first.expect_json()["id"].as_str().unwrap().to_owned();
    let mut known = vec![start.clone()];
    for number in 0..3 {
        first.say(&json!({ "n": number }));
        first.expect_sent();
        known.push(first.expect_json()["id"].as_str().unwrap().to_owned());
    }
    let samples: Vec<&str> = known.iter().map(String::as_str).collect();
    let store = start.split_once('-').unwrap().0;
    run(400, &mutations(&samples), |mut since| {
        // What does not fit into the head of a request is answered with 431.
        since.truncate(4_000);
        let mut client = connect(&since);
        let answer = client.expect_json();
        let text = String::from_utf8_lossy(&since);
        let left = match text.strip_prefix(store).and_then(|number| number.strip_prefix('-')) {
            // The first message of the server has the number 1.
            Some(number) => number
                .parse()
                .ok()
                .filter(|number: &u64| number.to_string() == text[store.len() + 1..])
                .and_then(|number| 3_u64.checked_sub(number)),
            None if since.is_empty() => Some(0),
            None => known.iter().position(|id| *id == text).map(|position| 3 - position as u64),
        };
        let expected = left.map_or_else(|| json!("gap"), |count| json!(count));
        let found = if left.is_some() { &answer["count"] } else { &answer["type"] };
        prop_assert_eq!(found, &expected, "{}: {}", text, answer);
        for number in 3 - left.unwrap_or(0)..3 {
            prop_assert_eq!(&client.expect_json()["data"]["n"], &json!(number));
        }
        client.vanish();
        Ok(())
    });
    crate::support::eventually("all others are gone", || server.metric("yamabiko_connections") == 1);
    expect_no_panic(&server);
}

#[test]
fn random_redis_messages_never_end_the_server() {
    let redis = RedisServer::start();
    let server = Server::start(|options| {
        options.set("redis.url", redis.url());
    });
    crate::support::eventually("the server is subscribed", || server.metric("yamabiko_broker_up") == 1);
    let mut witness = Client::connect(&server, &claims(1, "Witness", "quiet")).unwrap();
    let publisher = ::redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let publisher = RefCell::new(publisher);
    run(2_000, &mutations(ENVELOPES), |payload| {
        let receivers: usize = ::redis::cmd("PUBLISH")
            .arg("broadcast")
            .arg(payload)
            .query(&mut *publisher.borrow_mut())
            .unwrap();
        prop_assert_eq!(receivers, 1, "the server has gone from Redis");
        Ok(())
    });
    ::redis::cmd("PUBLISH")
        .arg("broadcast")
        .arg(r#"{"channel":"quiet","data":{"still":"here"}}"#)
        .exec(&mut *publisher.borrow_mut())
        .unwrap();
    assert_eq!(witness.expect_json()["data"], json!({ "still": "here" }));
    expect_no_panic(&server);
}

const MESSAGES: &[&str] = &[
    r#"{"type":"auth","token":"a.b.c"}"#,
    r#"{"data":{"message":"やまびこ","name":"Aoi","target_user_id":7}}"#,
    r#"{"data":{"tweet":"\ud83c\udfd4 \" \\ \/ \n","n":-1.5e+300,"big":123456789012345678901234567890}}"#,
    r#"{"data":{"target_user_id":null,"a":[{},[],[[1]],true,false,null]},"data":{"info":""},"x":{}}"#,
    r#"{"ref":"0198f1-\u5c71","data":{"message":"x"}}"#,
    "{\"data\":{}}",
    "null",
    "{\"data\":null}",
];

const ENVELOPES: &[&str] = &[
    r#"{"channel":"chat:default","data":{"message":"\u3084\u307e","name":"Aoi","target_user_id":7}}"#,
    r#"{"channel":"other","data":[],"sender":{"name":"Aoi","id":7},"extra":[1,{"a":null}]}"#,
    r#"{"channel":"","data":{},"sender":null}"#,
    "null",
];

const VARIABLES: &[&str] = &[
    "YAMABIKO__SERVER__PORT",
    "YAMABIKO__SERVER__ORIGINS",
    "YAMABIKO__SERVER__TRUSTED_PROXIES",
    "YAMABIKO__AUTH__SECRET",
    "YAMABIKO__REDIS__URL",
    "YAMABIKO__HEARTBEAT__INTERVAL",
    "YAMABIKO__CHANNELS__CHAT__FIELDS",
    "YAMABIKO__APPS",
    "YAMABIKO__PUSHER__WEBHOOKS",
    "YAMABIKO__PUSHER__ACTIVITY_TIMEOUT",
    "YAMABIKO__",
    "YAMABIKO____",
    "REDIS_URL",
    "APP_WS_PORT",
    "PUSHER_APP_ID",
    "PUSHER_APP_KEY",
    "PUSHER_APP_SECRET",
];

/// The settings of an installation that has only a secret.
static DEFAULTS: LazyLock<Settings> = LazyLock::new(|| {
    let environment = [("YAMABIKO__AUTH__SECRET", SECRET)].into_iter().collect();
    config::load(None, &environment, AuthKeys::Required).unwrap().settings
});

/// Looks at many cases of something.
fn run<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(0x79_616d_6162_696b);
    }
    TestRunner::new(config).run(strategy, test).unwrap_or_else(|error| panic!("{error}"));
}

/// One of the samples, unharmed or after some changes; sometimes nothing but noise.
fn mutations(samples: &[&str]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let samples: Vec<Vec<u8>> = samples.iter().map(|sample| sample.as_bytes().to_vec()).collect();
    prop_oneof![
        9 => select(samples).prop_flat_map(mutated),
        1 => vec(any::<u8>(), 0..64),
    ]
}

fn mutated(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    vec(change(), 0..4).prop_map(move |changes| {
        changes.into_iter().fold(bytes.clone(), |mut bytes, change| {
            change.apply(&mut bytes);
            bytes
        })
    })
}

#[derive(Debug, Clone)]
enum Change {
    Flip(Index, u8),
    Put(Index, Vec<u8>),
    Cut(Index, usize),
    Repeat(Index, usize, usize),
    End(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let token: Vec<Vec<u8>> = [
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u0000", "\\ud800", "\0", "null", "0", "-", "1e999",
        "\u{feff}", " ", ".", "=", "\r\n", "\u{2028}",
    ]
    .map(|token| token.as_bytes().to_vec())
    .to_vec();
    prop_oneof![
        (at(), 1..=255_u8).prop_map(|(at, bits)| Change::Flip(at, bits)),
        (at(), prop_oneof![select(token), vec(any::<u8>(), 1..4)])
            .prop_map(|(at, what)| Change::Put(at, what)),
        (at(), 1..16_usize).prop_map(|(at, length)| Change::Cut(at, length)),
        (at(), 1..16_usize, 1..300_usize).prop_map(|(at, length, times)| Change::Repeat(at, length, times)),
        at().prop_map(Change::End),
    ]
}

impl Change {
    fn apply(self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let span = |at: usize, length: usize, bytes: &[u8]| at..(at + length).min(bytes.len());
        match self {
            Self::Flip(at, bits) => {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            Self::Put(at, what) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, what);
            }
            Self::Cut(at, length) => {
                bytes.drain(span(at.index(bytes.len()), length, bytes));
            }
            Self::Repeat(at, length, times) => {
                let span = span(at.index(bytes.len()), length, bytes);
                let repeated = bytes[span.clone()].repeat(times);
                bytes.splice(span, repeated);
            }
            Self::End(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
}

/// Claims that are nearly right, and any JSON at all.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        "[\\x00-\\x7f]{0,8}".prop_map(Value::from),
        Just(Value::from("x".repeat(300))),
    ];
    let any_value = leaf.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[a-z]{0,4}", inner), 0..4).prop_map(|members| members.into_iter().collect()),
        ]
    });
    let claim = select(vec!["id", "name", "channel", "iat", "exp", "nbf", "iss", "aud"]);
    prop_oneof![
        1 => any_value.clone(),
        4 => vec((claim, any_value), 0..3).prop_map(|changes| {
            let mut value = claims(7, "Aoi", "chat:default");
            for (name, change) in changes {
                value[name] = change;
            }
            value
        }),
    ]
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A panic in a task would not end the process; the hook writes it to standard error all the same.
fn expect_no_panic(server: &Server) {
    for line in server.log() {
        assert!(!line.to_string().contains("panicked"), "{line}");
    }
}
