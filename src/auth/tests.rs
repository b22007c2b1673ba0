//! The room as others see it: settings and a token in, an identity or a refusal out.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::message::ChannelName;

const NOW: u64 = 1_800_000_000;
const SECRET: &str = "a secret of thirty-two bytes or so";

fn settings(json: Value) -> Settings {
    let mut whole = json!({
        "secret": "", "algorithms": ["HS256"], "close_on_expiry": true, "issuer": "", "audience": "", "keys": [],
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
    encode(&header, claims, key).unwrap()
}

/// A token with any header and payload text, signed with the secret.
fn raw(header: &str, payload: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
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
    use Algorithm::{ES256, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let rsa = EncodingKey::from_rsa_pem(&pem("rsa.private.pem")).unwrap();
    let mut keys: Vec<_> = [RS256, RS384, RS512, PS256, PS384, PS512]
        .map(|algorithm| (algorithm, "rsa.public.pem", rsa.clone()))
        .into();
    keys.push((ES256, "p256.public.pem", EncodingKey::from_ec_pem(&pem("p256.private.pem")).unwrap()));
    keys.push((EdDSA, "ed25519.public.pem", EncodingKey::from_ed_pem(&pem("ed25519.private.pem")).unwrap()));
    keys
}

fn with_public_key(algorithm: Algorithm, name: &str) -> Authenticator {
    authenticator(json!({"keys": [{"algorithm": format!("{algorithm:?}"), "public_key_file": file(name)}]}))
}

#[test]
fn a_good_token_is_its_claims() {
    let identity = shared().verify(&hs256(&claims(json!({}))), NOW).unwrap();
    assert_eq!(
        identity,
        Identity {
            id: 7,
            name: "Aoi".into(),
            channel: ChannelName::new("chat:default").unwrap(),
            expires_at: NOW + 60,
        }
    );
}

#[test]
fn a_token_of_php_is_good() {
    // firebase/php-jwt escapes slashes and everything above ASCII.
    let payload = format!(
        r#"{{"id":-3,"name":"\u846a \"A\\\/","channel":"chat:\u90e8\u5c4b","iat":1,"exp":{}}}"#,
        NOW + 1
    );
    let identity = shared().verify(&raw(r#"{"typ":"JWT","alg":"HS256"}"#, &payload), NOW).unwrap();
    assert_eq!((identity.id, &*identity.name, identity.channel.as_str()), (-3, "葪 \"A\\/", "chat:部屋"));
}

#[test]
fn exp_has_no_leeway() {
    let token = hs256(&claims(json!({"exp": NOW})));
    assert!(shared().verify(&token, NOW - 1).is_ok());
    assert_eq!(shared().verify(&token, NOW), Err(Refusal::Expired));
    assert_eq!(shared().verify(&hs256(&claims(json!({"exp": -1}))), NOW), Err(Refusal::Expired));
}

#[test]
fn nbf_is_honoured() {
    let token = hs256(&claims(json!({"nbf": NOW})));
    assert_eq!(shared().verify(&token, NOW - 1), Err(Refusal::NotYetValid));
    assert!(shared().verify(&token, NOW).is_ok());
    assert!(shared().verify(&hs256(&claims(json!({"nbf": -5}))), NOW).is_ok());
}

#[test]
fn iat_is_not_otherwise_checked() {
    assert!(shared().verify(&hs256(&claims(json!({"iat": NOW + 1_000_000}))), NOW).is_ok());
    let mut without = claims(json!({}));
    without.as_object_mut().unwrap().remove("iat");
    assert!(shared().verify(&hs256(&without), NOW).is_ok());
}

#[test]
fn claims_have_their_types() {
    for (claim, wrong) in [
        (
            "id",
            vec![json!("7"), json!(7.0), json!(7.5), json!(null), json!(true), json!(u64::MAX), json!([7])],
        ),
        ("name", vec![json!(7), json!(null), json!({}), json!(["Aoi"])]),
        ("channel", vec![json!(7), json!(null), json!([]), json!(""), json!("a\nb"), json!("a".repeat(201))]),
        ("exp", vec![json!("1900000000"), json!(1.9e9), json!(null), json!(u64::MAX)]),
        ("iat", vec![json!("1"), json!(1.0), json!(null)]),
        ("nbf", vec![json!("1"), json!(1.0), json!(null)]),
    ] {
        for value in wrong {
            let refusal = shared().verify(&hs256(&claims(json!({claim: value}))), NOW).unwrap_err();
            assert_eq!(refusal.code(), "invalid_claims", "{claim} = {value}");
            assert!(refusal.to_string().contains(&format!("`{claim}`")), "{claim} = {value}: {refusal}");
        }
    }
    for claim in ["id", "name", "channel", "exp"] {
        let mut without = claims(json!({}));
        without.as_object_mut().unwrap().remove(claim);
        let refusal = shared().verify(&hs256(&without), NOW).unwrap_err();
        assert!(refusal.to_string().contains(&format!("`{claim}`")), "{refusal}");
    }
}

#[test]
fn a_payload_that_is_no_object_is_refused() {
    for payload in ["null", "[]", "7", "\"x\"", "", "{", "{\"id\":1,\"id\":2}"] {
        let refusal = shared().verify(&raw(r#"{"alg":"HS256"}"#, payload), NOW).unwrap_err();
        assert_eq!(refusal.code(), "invalid_claims", "{payload}");
    }
}

#[test]
fn issuer_and_audience_count_where_they_are_configured() {
    let strict = authenticator(json!({"secret": SECRET, "issuer": "https://app", "audience": "live"}));
    let verify = |changes| strict.verify(&hs256(&claims(changes)), NOW).map(|_| ());
    assert_eq!(verify(json!({"iss": "https://app", "aud": "live"})), Ok(()));
    assert_eq!(verify(json!({"iss": "https://app", "aud": ["other", "live"]})), Ok(()));
    assert_eq!(verify(json!({"iss": "https://app/", "aud": "live"})), Err(Refusal::WrongIssuer));
    assert_eq!(verify(json!({"aud": "live"})), Err(Refusal::WrongIssuer));
    for aud in [json!("other"), json!([]), json!(["live2"]), json!(null)] {
        assert_eq!(verify(json!({"iss": "https://app", "aud": aud})), Err(Refusal::WrongAudience));
    }
    assert!(shared().verify(&hs256(&claims(json!({"iss": "any", "aud": ["any"]}))), NOW).is_ok());
}

#[test]
fn a_missing_token_is_not_a_malformed_one() {
    assert_eq!(shared().verify("", NOW), Err(Refusal::Missing));
    for token in ["x", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d", "null", "{}", "e30.e30.e30"] {
        assert_eq!(shared().verify(token, NOW), Err(Refusal::Malformed), "{token}");
    }
}

#[test]
fn algorithms_are_pinned() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let token = sign(Header::new(algorithm), &claims(json!({})), &key);
        assert_eq!(shared().verify(&token, NOW), Err(Refusal::AlgorithmNotAccepted));
        let name = format!("{algorithm:?}");
        assert!(authenticator(json!({"secret": SECRET, "algorithms": [name]})).verify(&token, NOW).is_ok());
    }
    let payload = claims(json!({})).to_string();
    for name in ["none", "None", "NONE", "hs256", "HS256 ", "", "ES512"] {
        let token = raw(&json!({"alg": name}).to_string(), &payload);
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        assert_eq!(shared().verify(&token, NOW), Err(Refusal::AlgorithmNotAccepted), "{name}");
        assert_eq!(
            shared().verify(&format!("{unsigned}."), NOW),
            Err(Refusal::AlgorithmNotAccepted),
            "{name}"
        );
    }
}

#[test]
fn an_extension_marked_critical_is_refused() {
    let token = raw(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &claims(json!({})).to_string());
    assert_eq!(shared().verify(&token, NOW), Err(Refusal::Malformed));
}

#[test]
fn public_keys_verify_and_only_with_their_own_algorithm() {
    let all = public_keys();
    for (algorithm, name, key) in &all {
        let token = sign(Header::new(*algorithm), &claims(json!({})), key);
        for (other, other_name, _) in &all {
            let result = with_public_key(*other, other_name).verify(&token, NOW);
            assert_eq!(result.is_ok(), algorithm == other, "{algorithm:?} with {other:?}");
        }
        assert_eq!(with_public_key(*algorithm, name).verify(&token, NOW).unwrap().id, 7);
    }
}

#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    for (algorithm, name, _) in public_keys() {
        let server = with_public_key(algorithm, name);
        let text = pem(name);
        let der = jsonwebtoken::DecodingKey::from_secret(&text);
        for bytes in [text.as_slice(), text.trim_ascii_end(), der.try_get_as_bytes().unwrap()] {
            for hmac in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let token = sign(Header::new(hmac), &claims(json!({})), &EncodingKey::from_secret(bytes));
                assert_eq!(server.verify(&token, NOW), Err(Refusal::AlgorithmNotAccepted));
                // The same signature under the header that the server expects.
                let message = token.rsplit_once('.').unwrap().0.split_once('.').unwrap().1;
                let header = URL_SAFE_NO_PAD.encode(json!({"alg": format!("{algorithm:?}")}).to_string());
                let forged = format!("{header}.{message}");
                let key = EncodingKey::from_secret(bytes);
                let signature = jsonwebtoken::crypto::sign(forged.as_bytes(), &key, hmac).unwrap();
                assert_eq!(server.verify(&format!("{forged}.{signature}"), NOW), Err(Refusal::BadSignature));
            }
        }
        let secret = String::from_utf8(text).unwrap();
        assert!(problems(json!({"secret": secret}))[0].starts_with("auth.secret: is a PEM file"));
    }
}

#[test]
fn several_keys_are_valid_at_once() {
    let old = "the old secret, soon to be gone...";
    let server = authenticator(json!({
        "secret": SECRET,
        "keys": [
            {"algorithm": "HS256", "secret": old},
            {"algorithm": "HS256", "kid": "a", "secret": "the secret of the key with kid a.."},
            {"algorithm": "HS512", "kid": "b", "secret": "the secret of the key with kid b.."},
        ],
    }));
    let verify = |algorithm, kid: Option<&str>, secret: &str| {
        let mut header = Header::new(algorithm);
        header.kid = kid.map(str::to_owned);
        let token = sign(header, &claims(json!({})), &EncodingKey::from_secret(secret.as_bytes()));
        server.verify(&token, NOW).map(|identity| identity.id)
    };
    let (a, b) = ("the secret of the key with kid a..", "the secret of the key with kid b..");
    let (hs256, hs512) = (Algorithm::HS256, Algorithm::HS512);
    for secret in [SECRET, old, a] {
        assert_eq!(verify(hs256, None, secret), Ok(7), "without kid all are tried");
    }
    assert_eq!(verify(hs256, Some("a"), a), Ok(7));
    assert_eq!(verify(hs512, Some("b"), b), Ok(7));
    assert_eq!(verify(hs256, Some("elsewhere"), SECRET), Ok(7), "keys without kid are tried for every token");
    assert_eq!(verify(hs256, Some("b"), a), Err(Refusal::BadSignature), "kid b is not signed with a");
    assert_eq!(verify(hs512, Some("a"), b), Err(Refusal::UnknownKey), "and no HS512 key is called a");
    assert_eq!(verify(hs256, None, "unknown"), Err(Refusal::BadSignature));
}

#[test]
fn all_problems_are_listed() {
    let found = problems(json!({
        "secret": SECRET,
        "algorithms": ["HS256", "RS256", "HS1"],
        "keys": [
            {"algorithm": "none"},
            {"algorithm": "HS256"},
            {"algorithm": "RS256", "secret": "x"},
            {"algorithm": "RS256", "public_key_file": "/nowhere/key.pem"},
            {"algorithm": "RS256", "public_key_file": file("p256.public.pem")},
            {"algorithm": "ES384", "public_key_file": file("p256.public.pem")},
            {"algorithm": "EdDSA", "public_key_file": file("rsa.public.pem")},
            {"algorithm": "ES256", "public_key_file": file("p256.private.pem")},
            {"algorithm": "HS256", "secret": "x", "public_key_file": "y"},
            {"algorithm": "HS256", "public_key_file": file("rsa.public.pem")},
            {"algorithm": "HS256", "secret": "x", "kid": ""},
        ],
    }));
    let starts: Vec<_> = found.iter().map(|problem| problem.split_once(':').unwrap().0).collect();
    assert_eq!(
        starts,
        [
            "auth.algorithms",
            "auth.algorithms",
            "auth.keys[0].algorithm",
            "auth.keys[1].secret",
            "auth.keys[2].public_key_file",
            "auth.keys[3].public_key_file",
            "auth.keys[4].public_key_file",
            "auth.keys[5].public_key_file",
            "auth.keys[6].public_key_file",
            "auth.keys[7].public_key_file",
            "auth.keys[8]",
            "auth.keys[9].secret",
            "auth.keys[10].kid",
        ],
        "{found:#?}"
    );
}

#[test]
fn without_a_key_it_says_what_to_set() {
    let found = problems(json!({}));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("YAMABIKO__AUTH__SECRET") && found[0].contains("APP_WS_JWT_SECRET"));
}

#[test]
fn a_short_secret_is_accepted_with_a_warning() {
    let server = authenticator(json!({"secret": "17 bytes of text!"}));
    assert_eq!(server.warnings().len(), 1);
    assert!(server.warnings()[0].to_string().starts_with("auth.secret: has 17 bytes"));
    assert!(shared().warnings().is_empty());
}

#[test]
fn what_is_minted_is_accepted() {
    for json in [
        json!({"secret": SECRET}),
        json!({"secret": SECRET, "algorithms": ["HS512"], "issuer": "i", "audience": "a"}),
        json!({"keys": [{"algorithm": "HS384", "kid": "k", "secret": SECRET}]}),
    ] {
        let settings = settings(json);
        let channel = ChannelName::new("chat:部屋").unwrap();
        let token = Minter::new(&settings).unwrap().mint(7, "Aoi", &channel, Duration::from_secs(60));
        let now = jsonwebtoken::get_current_timestamp();
        let identity = Authenticator::new(&settings).unwrap().verify(&token, now).unwrap();
        assert_eq!((identity.id, &*identity.name, &identity.channel), (7, "Aoi", &channel));
        assert!((now + 59..=now + 60).contains(&identity.expires_at));
    }
    let only_public = json!({"keys": [{"algorithm": "RS256", "public_key_file": file("rsa.public.pem")}]});
    assert_eq!(Minter::new(&settings(only_public)).unwrap_err(), NoSigningKey);
}

#[test]
fn nothing_secret_is_printed() {
    let settings = settings(json!({"secret": SECRET}));
    let minter = Minter::new(&settings).unwrap();
    let text = format!("{settings:?} {minter:?} {:?}", Authenticator::new(&settings).unwrap());
    assert!(!text.contains("thirty-two"), "{text}");
    // Also not as a list of numbers.
    assert!(!text.contains("116, 104, 105"), "{text}");
}

proptest! {
    #[test]
    fn junk_never_panics(token in ".{0,200}") {
        prop_assert!(shared().verify(&token, NOW).is_err());
    }

    #[test]
    fn junk_in_the_parts_never_panics(header in any::<Vec<u8>>(), payload in any::<Vec<u8>>()) {
        let token = format!("{}.{}.x", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        prop_assert!(shared().verify(&token, NOW).is_err());
    }

    #[test]
    fn signed_junk_never_panics(payload in "\\PC{0,100}") {
        let token = raw(r#"{"alg":"HS256"}"#, &payload);
        prop_assert!(shared().verify(&token, NOW).is_err());
    }

    /// Any change of any byte is found: also of the unused bits in the last character of a part.
    #[test]
    fn every_tampering_fails(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let token = hs256(&claims(json!({})));
        let mut bytes = token.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert_eq!(shared().verify(&changed, NOW).is_ok(), changed == token);
        }
    }

    #[test]
    fn every_truncation_and_extension_fails(cut in any::<prop::sample::Index>(), tail in "[A-Za-z0-9_=.-]{1,8}") {
        let token = hs256(&claims(json!({})));
        prop_assert!(shared().verify(&token[..cut.index(token.len())], NOW).is_err());
        let longer = format!("{token}{tail}");
        prop_assert!(shared().verify(&longer, NOW).is_err());
    }

    #[test]
    fn names_and_ids_survive(id in any::<i64>(), name in ".{0,40}") {
        let identity = shared().verify(&hs256(&claims(json!({"id": id, "name": name}))), NOW).unwrap();
        prop_assert_eq!((identity.id, &*identity.name), (id, name.as_str()));
    }

    /// What a refusal says must not depend on what the token says.
    #[test]
    fn refusals_do_not_quote_the_token(secret_text in "[a-z]{12}") {
        for changes in [json!({"id": &secret_text}), json!({"exp": &secret_text}), json!({&secret_text: 1, "name": 5})] {
            let refusal = shared().verify(&hs256(&claims(changes)), NOW).unwrap_err();
            let text = format!("{refusal} {refusal:?}");
            prop_assert!(!text.contains(&secret_text));
        }
    }
}
