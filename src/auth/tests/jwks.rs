//! Keys of a JSON Web Key Set.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jsonwebtoken::DecodingKey;
use simple_asn1::{ASN1Block, from_der};

use super::*;

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The public key of a fixture.
fn jwk(name: &str) -> Value {
    let pem = pem(name);
    match name {
        "rsa.public.pem" => {
            let key = DecodingKey::from_rsa_pem(&pem).unwrap();
            let blocks = from_der(key.try_get_as_bytes().unwrap()).unwrap();
            let [ASN1Block::Sequence(_, parts)] = &blocks[..] else { panic!("{blocks:?}") };
            let [ASN1Block::Integer(_, n), ASN1Block::Integer(_, e)] = &parts[..] else {
                panic!("{parts:?}")
            };
            json!({"kty": "RSA", "n": encoded(&n.to_bytes_be().1), "e": encoded(&e.to_bytes_be().1)})
        }
        "p256.public.pem" | "p384.public.pem" => {
            let key = DecodingKey::from_ec_pem(&pem).unwrap();
            let (x, y) =
                key.try_get_as_bytes().unwrap()[1..].split_at(if name.starts_with("p256") { 32 } else { 48 });
            let curve = if name.starts_with("p256") { "P-256" } else { "P-384" };
            json!({"kty": "EC", "crv": curve, "x": encoded(x), "y": encoded(y)})
        }
        _ => {
            let key = DecodingKey::from_ed_pem(&pem).unwrap();
            json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(key.try_get_as_bytes().unwrap())})
        }
    }
}

fn with(mut key: Value, changes: Value) -> Value {
    key.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    key
}

fn parse(keys: &[Value]) -> Result<Jwks, JwksError> {
    Jwks::parse(json!({"keys": keys}).to_string().as_bytes())
}

fn verifier(keys: &[Value]) -> Authenticator {
    let authenticator = authenticator(json!({"jwks_url": "https://id.example.com/jwks.json"}));
    authenticator.set_fetched_keys(parse(keys).unwrap());
    authenticator
}

#[test]
fn every_type_of_key_verifies_with_its_algorithms_only() {
    for (algorithm, name, key) in public_keys() {
        let token = sign(Header::new(algorithm), &claims(json!({})), &key);
        for (_, other, _) in public_keys() {
            let verified = verifier(&[jwk(other)]).verify(&token, NOW);
            assert_eq!(verified.is_ok(), name == other, "{algorithm:?} with {other}");
        }
        // `alg` leaves one of them.
        for (named, other, _) in public_keys().iter().filter(|(_, other, _)| *other == name) {
            let key = with(jwk(other), json!({"alg": format!("{named:?}")}));
            assert_eq!(verifier(&[key]).verify(&token, NOW).is_ok(), *named == algorithm, "{named:?}");
        }
    }
}

#[test]
fn keys_that_are_not_for_verifying_are_ignored() {
    let good = jwk("ed25519.public.pem");
    let secret = json!({"kty": "oct", "k": encoded(SECRET.as_bytes()), "alg": "HS256"});
    let bad = [
        secret.clone(),
        with(good.clone(), json!({"use": "enc"})),
        with(good.clone(), json!({"key_ops": ["sign"]})),
        with(good.clone(), json!({"alg": "HS256"})),
        with(good.clone(), json!({"alg": "RS256"})),
        with(good.clone(), json!({"alg": "none"})),
        with(good.clone(), json!({"crv": "X25519"})),
        with(good.clone(), json!({"x": "AAAA"})),
        with(good.clone(), json!({"x": "?"})),
        with(jwk("p256.public.pem"), json!({"crv": "P-384"})),
        with(jwk("p256.public.pem"), json!({"crv": "P-521"})),
        with(jwk("p256.public.pem"), json!({"y": "AAAA"})),
        with(jwk("rsa.public.pem"), json!({"n": "AQAB"})),
        with(jwk("rsa.public.pem"), json!({"n": ""})),
        with(jwk("rsa.public.pem"), json!({"alg": "RSA-OAEP"})),
        json!({"kty": "new"}),
        json!({}),
        json!(7),
        Value::Null,
    ];
    for key in &bad {
        assert_eq!(parse(std::slice::from_ref(key)).unwrap_err(), JwksError::NoKeys, "{key}");
    }
    let purposes =
        [json!({"use": "sig"}), json!({"key_ops": ["verify"]}), json!({"alg": "EdDSA", "use": "sig"})];
    let all: Vec<Value> =
        bad.into_iter().chain(purposes.map(|purpose| with(good.clone(), purpose))).collect();
    assert_eq!(parse(&all).unwrap().len(), 3);
    // A secret in the set, or a public key of it, makes no HMAC valid.
    let server = verifier(&[secret, good]);
    assert_eq!(server.verify(&hs256(&claims(json!({}))), NOW), Err(TokenRejectReason::AlgorithmNotAccepted));
}

#[test]
fn what_is_no_set_is_rejected() {
    for text in ["", "null", "[]", "{}", "<html>", r#"{"keys":7}"#, r#"{"keys":[}"#, "\u{0}"] {
        assert_eq!(Jwks::parse(text.as_bytes()).unwrap_err(), JwksError::Invalid, "{text}");
    }
    assert_eq!(parse(&[]).unwrap_err(), JwksError::NoKeys);
    let good = jwk("ed25519.public.pem");
    assert_eq!(parse(&vec![good.clone(); Jwks::MAX_KEYS]).unwrap().len(), Jwks::MAX_KEYS);
    assert_eq!(parse(&vec![good; Jwks::MAX_KEYS + 1]).unwrap_err(), JwksError::TooManyKeys);
}

#[test]
fn a_token_with_an_unknown_key_is_reported_once_keys_are_fetched_or_not() {
    let server = authenticator(json!({"jwks_url": "https://id.example.com/jwks.json"}));
    let reported = Arc::new(AtomicUsize::new(0));
    server.on_unknown_key({
        let reported = reported.clone();
        move || {
            reported.fetch_add(1, Ordering::Relaxed);
        }
    });
    let key = EncodingKey::from_ed_pem(&pem("ed25519.private.pem")).unwrap();
    let token = |kid: Option<&str>| {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::EdDSA) };
        sign(header, &claims(json!({})), &key)
    };
    assert!(server.has_keys() && !server.is_ready());
    assert_eq!(server.verify(&token(Some("a")), NOW), Err(TokenRejectReason::UnknownKey));
    let set = parse(&[with(jwk("ed25519.public.pem"), json!({"kid": "a"}))]).unwrap();
    assert!(server.set_fetched_keys(set.clone()) && server.is_ready());
    assert!(!server.set_fetched_keys(set), "the same keys");
    assert!(server.verify(&token(Some("a")), NOW).is_ok());
    assert!(server.verify(&token(None), NOW).is_ok());
    assert_eq!(reported.load(Ordering::Relaxed), 1);
    assert_eq!(server.verify(&token(Some("b")), NOW), Err(TokenRejectReason::UnknownKey));
    assert_eq!(reported.load(Ordering::Relaxed), 2);
    // Other keys replace them.
    assert!(server.set_fetched_keys(parse(&[jwk("p256.public.pem")]).unwrap()));
    assert!(server.verify(&token(None), NOW).is_err());
}

#[test]
fn the_address_of_a_set_must_be_safe() {
    let problem = |url: &str| problems(json!({"jwks_url": url})).join("\n");
    for url in [
        "http://id.example.com/",
        "http://10.0.0.1/",
        "ftp://localhost/",
        "id.example.com",
        "/jwks",
        "https://",
        "::",
    ] {
        assert!(problem(url).starts_with("auth.jwks_url: "), "{url}");
    }
    assert!(problem("https://user:secret@id.example.com/").contains("password"));
    for url in
        ["https://id.example.com/jwks", "http://localhost:8000/jwks", "http://127.0.0.1/", "http://[::1]:1/x"]
    {
        let server = authenticator(json!({"jwks_url": url}));
        assert_eq!(server.jwks_url().map(ToString::to_string).as_deref(), Some(url), "{url}");
    }
    assert!(authenticator(json!({})).jwks_url().is_none());
}
