//! The room from outside: settings and a token in, an identity or a reject reason out.

#![allow(clippy::needless_pass_by_value, reason = "json!(…) reads better without a borrow at each call")]

mod claims;
mod jwks;
mod keys;
mod tampering;

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;
use crate::message::ChannelName;

const NOW: u64 = 1_800_000_000;
const SECRET: &str = "a secret of thirty-two bytes or so";

fn settings(json: Value) -> Settings {
    let mut whole = json!({
        "secret": "", "algorithms": ["HS256"], "leeway": "0s", "close_on_expiry": true, "max_token_age": "1day", "jwks_url": "", "issuer": "", "audience": "", "keys": [],
    });
    whole.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
    serde_json::from_value(whole).unwrap()
}

fn authenticator(json: Value) -> Authenticator {
    Authenticator::new(&settings(json)).unwrap()
}

fn problems(json: Value) -> Vec<String> {
    Authenticator::new(&settings(json)).unwrap_err().iter().map(ToString::to_string).collect()
}

fn shared() -> Authenticator {
    authenticator(json!({"secret": SECRET}))
}

fn claims(changes: Value) -> Value {
    let mut claims =
        json!({"id": 7, "name": "Aoi", "channel": "chat:default", "iat": NOW - 60, "exp": NOW + 60});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn hs256(claims: &Value) -> String {
    sign(Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes()))
}

fn sign(header: Header, claims: &Value, key: &EncodingKey) -> String {
    install_crypto_provider();
    encode(&header, claims, key).unwrap()
}

/// A token with any header and payload text, signed with the secret.
fn raw(header: &str, payload: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    install_crypto_provider();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name)
}

fn pem(name: &str) -> Vec<u8> {
    std::fs::read(file(name)).unwrap()
}

/// Each public-key algorithm with its fixture.
fn public_keys() -> Vec<(Algorithm, &'static str, EncodingKey)> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let rsa = EncodingKey::from_rsa_pem(&pem("rsa.private.pem")).unwrap();
    let mut keys: Vec<_> = [RS256, RS384, RS512, PS256, PS384, PS512]
        .map(|algorithm| (algorithm, "rsa.public.pem", rsa.clone()))
        .into();
    keys.push((ES256, "p256.public.pem", EncodingKey::from_ec_pem(&pem("p256.private.pem")).unwrap()));
    keys.push((ES384, "p384.public.pem", EncodingKey::from_ec_pem(&pem("p384.private.pem")).unwrap()));
    keys.push((EdDSA, "ed25519.public.pem", EncodingKey::from_ed_pem(&pem("ed25519.private.pem")).unwrap()));
    keys
}

fn with_public_key(algorithm: Algorithm, name: &str) -> Authenticator {
    authenticator(json!({"keys": [{"algorithm": format!("{algorithm:?}"), "public_key_file": file(name)}]}))
}
