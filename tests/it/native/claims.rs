//! The claims of a token.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::native::{join, join_as, unix_time};
use crate::support::{Client, SECRET, Server, claims};

#[test]
fn id_and_name_are_delivered_unchanged() {
    let server = Server::start(|_| {});
    for (id, name, text) in [
        (7, "Aoi", r#"{"name":"Aoi","id":7}"#),
        (0, "", r#"{"name":"","id":0}"#),
        (-1, "\"\\ </script>\n", r#"{"name":"\"\\ </script>\n","id":-1}"#),
        (9_007_199_254_740_993, "山彦 🗻", r#"{"name":"山彦 🗻","id":9007199254740993}"#),
        (i64::MAX, "x", r#"{"name":"x","id":9223372036854775807}"#),
    ] {
        let mut client = join(&server, id, name, "notes:");
        client.say(&json!({}));
        client.expect_sent();
        assert_eq!(client.expect_text(), format!(r#"{{"type":"message","sender":{text},"data":{{}}}}"#));
        client.close();
    }
}

#[test]
fn a_string_id_stays_a_string() {
    let server = Server::start(|_| {});
    for id in [
        "9d2f4c1e-7b1a-4e0e-9a53-3f1f5a0d6c11",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "7",
        "山 \"\\",
        &"x".repeat(64),
    ] {
        let mut client = join_as(&server, &json!(id), "notes:");
        client.say(&json!({}));
        client.expect_sent();
        assert_eq!(client.expect_json()["sender"], json!({ "name": "A", "id": id }));
        client.close();
        let line = server.expect_log(|line| line["message"] == "disconnected" && line["user"] == id);
        assert_eq!(line["level"], "INFO");
    }
    for id in [json!(""), json!("x".repeat(65)), json!(true)] {
        let mut token = claims(7, "Aoi", "notes:");
        token["id"] = id;
        assert_eq!(refused(&server, &token), "invalid_claims");
    }
}

#[test]
fn times_may_have_fractions() {
    // As lcobucci/jwt writes them.
    let server = Server::start(|_| {});
    let mut token = claims(7, "Aoi", "notes:");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    token["iat"] = json!(now);
    token["nbf"] = json!(now);
    token["exp"] = json!(now + 3600.0);
    assert!(Client::connect(&server, &token).is_ok());
    token["exp"] = json!(now - 0.5);
    assert_eq!(refused(&server, &token), "token_expired");
    token["exp"] = json!(now + 3600.0);
    token["nbf"] = json!(now + 30.5);
    assert_eq!(refused(&server, &token), "token_not_yet_valid");
}

#[test]
fn leeway_tolerates_clock_skew() {
    let server = Server::start(|options| {
        options.set("auth.leeway", "1m");
    });
    let mut token = claims(7, "Aoi", "notes:");
    token["exp"] = json!(unix_time() - 30);
    token["nbf"] = json!(unix_time() + 30);
    let mut aoi = Client::connect(&server, &token).expect("upgraded");
    // Nor is it closed at once, for the token that let it in.
    aoi.say(&json!({}));
    aoi.expect_sent();
    token["nbf"] = json!(unix_time() + 90);
    assert_eq!(refused(&server, &token), "token_not_yet_valid");
    token["nbf"] = json!(unix_time());
    token["exp"] = json!(unix_time() - 61);
    assert_eq!(refused(&server, &token), "token_expired");
}

#[test]
fn iat_is_optional_and_not_checked() {
    let server = Server::start(|_| {});
    let mut token = claims(7, "Aoi", "notes:");
    token["iat"] = json!(unix_time() + 1000);
    assert!(Client::connect(&server, &token).is_ok());
    token.as_object_mut().unwrap().remove("iat");
    assert!(Client::connect(&server, &token).is_ok());
}

#[test]
fn exp_has_no_leeway() {
    let server = Server::start(|_| {});
    let mut token = claims(7, "Aoi", "notes:");
    for ago in [0, 1, 30, 59] {
        token["exp"] = json!(unix_time() - ago);
        assert_eq!(refused(&server, &token), "token_expired", "{ago} s ago");
    }
}

#[test]
fn nbf_is_honoured_when_present() {
    let server = Server::start(|_| {});
    let mut token = claims(7, "Aoi", "notes:");
    token["nbf"] = json!(unix_time() + 30);
    assert_eq!(refused(&server, &token), "token_not_yet_valid");
    token["nbf"] = json!(unix_time());
    assert!(Client::connect(&server, &token).is_ok());
}

#[test]
fn iss_and_aud_are_checked_when_configured() {
    let mut token = claims(7, "Aoi", "notes:");
    token["iss"] = json!("https://app.example.com");
    token["aud"] = json!(["live", "other"]);
    let open = Server::start(|_| {});
    assert!(Client::connect(&open, &token).is_ok());

    let strict = Server::start(|options| {
        options.set("auth.issuer", "https://app.example.com").set("auth.audience", "live");
    });
    assert!(Client::connect(&strict, &token).is_ok());
    for (claim, value, code) in [
        ("iss", json!("https://evil.example"), "wrong_issuer"),
        ("iss", json!(null), "wrong_issuer"),
        ("aud", json!("other"), "wrong_audience"),
        ("aud", json!([]), "wrong_audience"),
    ] {
        let mut wrong = token.clone();
        wrong[claim] = value;
        assert_eq!(refused(&strict, &wrong), code, "{wrong}");
    }
    assert_eq!(refused(&strict, &claims(7, "Aoi", "notes:")), "wrong_issuer");
}

#[test]
fn a_short_secret_is_accepted_with_a_warning() {
    let short = "17 bytes of yore!";
    let server = Server::start(|options| {
        options.set("auth.secret", short);
    });
    server.expect_log(|line| line["level"] == "WARN" && line.to_string().contains("auth.secret"));
    let token = signed(Algorithm::HS256, None, &EncodingKey::from_secret(short.as_bytes()));
    assert!(Client::with_token(&server, &token).is_ok());
    assert_eq!(refusal_of(&server, &hs(Algorithm::HS256, SECRET)), "bad_signature");

    let long = Server::start(|_| {});
    assert!(!long.log().iter().any(|line| line["level"] == "WARN"), "{:?}", long.log());
}

#[test]
fn the_algorithm_is_pinned() {
    let server = Server::start(|_| {});
    assert_eq!(refusal_of(&server, &hs(Algorithm::HS384, SECRET)), "algorithm_not_accepted");
    // {"alg":"none"} with the claims of a good token, with and without a signature.
    let good = hs(Algorithm::HS256, SECRET);
    let mut parts = good.split('.').skip(1);
    let (payload, signature) = (parts.next().unwrap(), parts.next().unwrap());
    for signature in ["", signature] {
        let token = format!("eyJhbGciOiJub25lIn0.{payload}.{signature}");
        assert_eq!(refusal_of(&server, &token), "algorithm_not_accepted");
    }

    let other = Server::start(|options| {
        options.set("auth.algorithms", "HS384,HS512");
    });
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        assert!(Client::with_token(&other, &hs(algorithm, SECRET)).is_ok(), "{algorithm:?}");
    }
    assert_eq!(refusal_of(&other, &hs(Algorithm::HS256, SECRET)), "algorithm_not_accepted");
}

#[test]
fn a_public_key_verifies_only_its_own_algorithm() {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    let read = |name: &str| fs::read(keys.join(name)).unwrap();
    let config = format!(
        "[[auth.keys]]\nalgorithm = \"EdDSA\"\npublic_key_file = {:?}\n\
         [[auth.keys]]\nalgorithm = \"ES256\"\npublic_key_file = {:?}\n\
         [[auth.keys]]\nalgorithm = \"RS256\"\npublic_key_file = {:?}\n",
        keys.join("ed25519.public.pem"),
        keys.join("p256.public.pem"),
        keys.join("rsa.public.pem"),
    );
    let server = Server::start(|options| {
        options.config(&config).unset("auth.secret");
    });
    let ed25519 = EncodingKey::from_ed_pem(&read("ed25519.private.pem")).unwrap();
    let p256 = EncodingKey::from_ec_pem(&read("p256.private.pem")).unwrap();
    let rsa = EncodingKey::from_rsa_pem(&read("rsa.private.pem")).unwrap();
    for (algorithm, key) in
        [(Algorithm::EdDSA, &ed25519), (Algorithm::ES256, &p256), (Algorithm::RS256, &rsa)]
    {
        assert!(Client::with_token(&server, &signed(algorithm, None, key)).is_ok(), "{algorithm:?}");
    }
    assert_eq!(refusal_of(&server, &signed(Algorithm::PS256, None, &rsa)), "algorithm_not_accepted");
    // Algorithm confusion: the public key is public and must not act as a shared secret.
    let confused = EncodingKey::from_secret(&read("rsa.public.pem"));
    assert_eq!(refusal_of(&server, &signed(Algorithm::HS256, None, &confused)), "algorithm_not_accepted");
}

#[test]
fn a_secret_is_rotated_with_no_one_disconnected() {
    let rotating = "[[auth.keys]]\nkid = \"next\"\nalgorithm = \"HS256\"\nsecret = \"the next secret, of 32 bytes too\"\n\
                    [[auth.keys]]\nalgorithm = \"HS256\"\nsecret = \"a third secret, that names no kid\"\n";
    let server = Server::start(|options| {
        options.config(rotating);
    });
    let next = EncodingKey::from_secret(b"the next secret, of 32 bytes too");
    let third = EncodingKey::from_secret(b"a third secret, that names no kid");
    let old = EncodingKey::from_secret(SECRET.as_bytes());
    let mut clients = Vec::new();
    for (kid, key) in
        [(None, &old), (Some("next"), &next), (None, &next), (None, &third), (Some("any"), &third)]
    {
        let token = signed(Algorithm::HS256, kid, key);
        clients.push(
            Client::with_token(&server, &token).unwrap_or_else(|refused| panic!("{kid:?}: {refused:?}")),
        );
    }
    let stranger = EncodingKey::from_secret(b"a secret that is not configured");
    for kid in [None, Some("next"), Some("any")] {
        assert_eq!(refusal_of(&server, &signed(Algorithm::HS256, kid, &stranger)), "bad_signature");
    }
    clients[0].say(&json!({ "to": "all" }));
    clients[0].expect_sent();
    for client in &mut clients {
        assert_eq!(client.expect_json()["data"], json!({ "to": "all" }));
    }
    // Each has received it once, and is still connected.
    clients[0].say(&json!({ "to": "all again" }));
    clients[0].expect_sent();
    for client in &mut clients {
        assert_eq!(client.expect_json()["data"], json!({ "to": "all again" }));
    }
}

fn hs(algorithm: Algorithm, secret: &str) -> String {
    signed(algorithm, None, &EncodingKey::from_secret(secret.as_bytes()))
}

fn signed(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey) -> String {
    yamabiko::auth::install_crypto_provider();
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    encode(&header, &claims(7, "Aoi", "notes:"), key).unwrap()
}

fn refused(server: &Server, claims: &Value) -> String {
    refusal_of(server, &crate::support::token(claims))
}

fn refusal_of(server: &Server, token: &str) -> String {
    let refused = Client::with_token(server, token).expect_err("refused");
    assert_eq!(refused.status, 401);
    refused.json()["error"]["code"].as_str().unwrap().to_owned()
}
