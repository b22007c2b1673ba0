//! Keys of a JSON Web Key Set: a key server that rotates them, and servers that fail in every way.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use yamabiko::auth::install_crypto_provider;

use crate::native::join;
use crate::support::{Client, Options, SECRET, Server, claims, eventually};

/// Serves one answer until it is changed.
struct KeyServer {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
}

struct Answer {
    /// `None`: it accepts requests and never answers.
    response: Option<Vec<u8>>,
    requests: usize,
}

impl KeyServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(Answer { response: None, requests: 0 }));
        let shared = answer.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = shared.clone();
                thread::spawn(move || drop(serve(stream.unwrap(), &shared)));
            }
        });
        Self { address, answer }
    }

    fn url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    fn answer(&self, status: &str, body: &str) {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nCache-Control: max-age=3600\r\n\r\n",
            body.len()
        );
        self.answer.lock().unwrap().response = Some((head + body).into());
    }

    fn publish(&self, keys: &[Value]) {
        self.answer("200 OK", &json!({ "keys": keys }).to_string());
    }

    fn requests(&self) -> usize {
        self.answer.lock().unwrap().requests
    }
}

/// Answers one request, after its head.
fn serve(mut stream: TcpStream, shared: &Mutex<Answer>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let response = {
        let mut answer = shared.lock().unwrap();
        answer.requests += 1;
        answer.response.clone()
    };
    match response {
        Some(response) => stream.write_all(&response),
        // Until the client gives up.
        None => stream.read_exact(&mut [0]),
    }
}

/// A key with a name.
struct Key {
    kid: &'static str,
    pkcs8: Vec<u8>,
    public: Vec<u8>,
}

impl Key {
    fn new(kid: &'static str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref().to_vec();
        let public = Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap().public_key().as_ref().to_vec();
        Self { kid, pkcs8, public }
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(&self.public);
        json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.kid, "x": x })
    }

    fn token(&self) -> String {
        install_crypto_provider();
        let header = Header { kid: Some(self.kid.to_owned()), ..Header::new(Algorithm::EdDSA) };
        encode(&header, &claims(7, "Aoi", "notes:"), &EncodingKey::from_ed_der(&self.pkcs8)).unwrap()
    }
}

fn start(server: &KeyServer, change: impl FnOnce(&mut Options)) -> Server {
    Server::start(|options| {
        options.unset("auth.secret").set("auth.jwks_url", server.url());
        change(options);
    })
}

fn is_ready(node: &Server) -> bool {
    node.get_admin("/readyz").status == 200
}

fn accepts(node: &Server, token: &str) -> bool {
    Client::with_token(node, token).is_ok_and(|client| {
        client.close();
        true
    })
}

/// The code with which a token is refused.
fn refused(node: &Server, token: &str) -> String {
    let response = Client::with_token(node, token).expect_err("refused");
    assert_eq!(response.status, 401);
    response.json()["error"]["code"].as_str().unwrap().to_owned()
}

#[test]
fn rotated_keys_are_fetched_when_a_token_names_one() {
    let server = KeyServer::start();
    let (old, new, never) = (Key::new("old"), Key::new("new"), Key::new("never"));
    server.publish(&[old.jwk()]);
    let node = start(&server, |_| {});
    eventually("ready", || is_ready(&node));
    assert!(accepts(&node, &old.token()));
    assert_eq!((server.requests(), node.metric("yamabiko_jwks_keys")), (1, 1));

    // The response can be used for an hour. The first token with the new key leads to a fetch, and is accepted after it.
    server.publish(&[old.jwk(), new.jwk()]);
    assert_eq!(refused(&node, &new.token()), "unknown_key");
    eventually("the new key is there", || accepts(&node, &new.token()));
    assert!(accepts(&node, &old.token()));
    assert_eq!((server.requests(), node.metric("yamabiko_jwks_keys")), (2, 2));

    // Another one is not fetched within half a minute, whoever asks for it.
    for _ in 0..20 {
        assert_eq!(refused(&node, &never.token()), "unknown_key");
    }
    assert_eq!(server.requests(), 2);
}

#[test]
fn the_last_good_keys_stay_when_a_fetch_fails() {
    let server = KeyServer::start();
    let (old, new) = (Key::new("old"), Key::new("new"));
    server.publish(&[old.jwk()]);
    let node = start(&server, |_| {});
    eventually("ready", || is_ready(&node));
    server.answer("500 Internal Server Error", "oops");
    assert_eq!(refused(&node, &new.token()), "unknown_key");
    eventually("counted", || node.metric("yamabiko_jwks_failures_total{reason=\"status\"}") == 1);
    let line = node.expect_log(|line| line["level"] == "WARN" && line["reason"] == "status");
    assert_eq!(line["message"], "cannot fetch auth.jwks_url: the last keys stay");
    assert_eq!(line["detail"], "the response is 500 Internal Server Error");
    assert!(accepts(&node, &old.token()) && is_ready(&node));
    node.expect_metric("yamabiko_jwks_keys", 1);
}

#[test]
fn a_node_is_not_ready_before_it_has_keys_whatever_the_server_answers() {
    let key = Key::new("a");
    let many: Vec<Value> = (0..101).map(|_| key.jwk()).collect();
    let huge = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300 << 10));
    let secret = json!({ "kty": "oct", "kid": "a", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(SECRET) });
    let answers = [
        ("status", Some(("404 Not Found", "{}".to_owned()))),
        ("status", Some(("302 Found", "{}".to_owned()))),
        ("invalid", Some(("200 OK", String::new()))),
        ("invalid", Some(("200 OK", "<html>".to_owned()))),
        ("invalid", Some(("200 OK", "{\"keys\":7}".to_owned()))),
        ("no_keys", Some(("200 OK", "{\"keys\":[]}".to_owned()))),
        ("no_keys", Some(("200 OK", json!({ "keys": [secret, 7, { "kty": "new" }] }).to_string()))),
        ("too_many_keys", Some(("200 OK", json!({ "keys": many }).to_string()))),
        ("too_large", Some(("200 OK", huge))),
        ("timeout", None),
    ];
    let all: Vec<(&str, KeyServer, Server)> = answers
        .into_iter()
        .map(|(reason, answer)| {
            let server = KeyServer::start();
            if let Some((status, body)) = &answer {
                server.answer(status, body);
            }
            let node = start(&server, |_| {});
            (reason, server, node)
        })
        .collect();
    for (reason, server, node) in &all {
        let failures = format!("yamabiko_jwks_failures_total{{reason=\"{reason}\"}}");
        eventually(reason, || node.metric(&failures) > 0);
        let response = node.get_admin("/readyz");
        assert_eq!(
            (response.status, &response.json()["waiting_for"]),
            (503, &json!("the keys of auth.jwks_url"))
        );
        assert_eq!(refused(node, &key.token()), "unknown_key", "{reason}");
        // The public key or the secret of the set is none for HMACs.
        server.publish(&[key.jwk()]);
    }
    for (reason, _, node) in &all {
        eventually(reason, || is_ready(node));
        assert!(accepts(node, &key.token()), "{reason}");
    }
}

#[test]
fn other_keys_work_while_the_set_cannot_be_fetched() {
    let server = KeyServer::start();
    let node = Server::start(|options| {
        options.set("auth.jwks_url", server.url());
    });
    assert!(is_ready(&node));
    join(&node, 7, "Aoi", "notes:").expect_quiet();
}
