//! Keys and algorithms, and invalid settings of them.

use std::time::Duration;

use super::*;

#[test]
fn a_missing_token_has_its_own_reason() {
    assert_eq!(shared().verify("", NOW), Err(TokenRejectReason::Missing));
    for token in ["x", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d", "null", "{}", "e30.e30.e30"] {
        assert_eq!(shared().verify(token, NOW), Err(TokenRejectReason::Malformed), "{token}");
    }
}

#[test]
fn algorithms_are_pinned() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let token = sign(Header::new(algorithm), &claims(json!({})), &key);
        assert_eq!(shared().verify(&token, NOW), Err(TokenRejectReason::AlgorithmNotAccepted));
        let name = format!("{algorithm:?}");
        assert!(authenticator(json!({"secret": SECRET, "algorithms": [name]})).verify(&token, NOW).is_ok());
    }
    let payload = claims(json!({})).to_string();
    for name in ["none", "None", "NONE", "hs256", "HS256 ", "", "ES512"] {
        let token = raw(&json!({"alg": name}).to_string(), &payload);
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        assert_eq!(shared().verify(&token, NOW), Err(TokenRejectReason::AlgorithmNotAccepted), "{name}");
        assert_eq!(
            shared().verify(&format!("{unsigned}."), NOW),
            Err(TokenRejectReason::AlgorithmNotAccepted),
            "{name}"
        );
    }
}

#[test]
fn a_critical_extension_is_rejected() {
    let token = raw(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &claims(json!({})).to_string());
    assert_eq!(shared().verify(&token, NOW), Err(TokenRejectReason::Malformed));
}

#[test]
fn public_keys_verify_only_with_their_own_algorithm() {
    let all = public_keys();
    for (algorithm, name, key) in &all {
        let token = sign(Header::new(*algorithm), &claims(json!({})), key);
        for (other, other_name, _) in &all {
            let result = with_public_key(*other, other_name).verify(&token, NOW);
            assert_eq!(result.is_ok(), algorithm == other, "{algorithm:?} with {other:?}");
        }
        assert_eq!(with_public_key(*algorithm, name).verify(&token, NOW).unwrap().id, 7.into());
    }
}

#[test]
fn a_public_key_is_never_used_as_a_secret() {
    for (algorithm, name, _) in public_keys() {
        let server = with_public_key(algorithm, name);
        let text = pem(name);
        let der = jsonwebtoken::DecodingKey::from_secret(&text);
        for bytes in [text.as_slice(), text.trim_ascii_end(), der.try_get_as_bytes().unwrap()] {
            for hmac in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let token = sign(Header::new(hmac), &claims(json!({})), &EncodingKey::from_secret(bytes));
                assert_eq!(server.verify(&token, NOW), Err(TokenRejectReason::AlgorithmNotAccepted));
                // The same signature under the header that the server expects.
                let message = token.rsplit_once('.').unwrap().0.split_once('.').unwrap().1;
                let header = URL_SAFE_NO_PAD.encode(json!({"alg": format!("{algorithm:?}")}).to_string());
                let forged = format!("{header}.{message}");
                let key = EncodingKey::from_secret(bytes);
                let signature = jsonwebtoken::crypto::sign(forged.as_bytes(), &key, hmac).unwrap();
                assert_eq!(
                    server.verify(&format!("{forged}.{signature}"), NOW),
                    Err(TokenRejectReason::BadSignature)
                );
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
        server.verify(&token, NOW).map(|identity| identity.id.number().unwrap())
    };
    let (a, b) = ("the secret of the key with kid a..", "the secret of the key with kid b..");
    let (hs256, hs512) = (Algorithm::HS256, Algorithm::HS512);
    for secret in [SECRET, old, a] {
        assert_eq!(verify(hs256, None, secret), Ok(7), "without kid all are tried");
    }
    assert_eq!(verify(hs256, Some("a"), a), Ok(7));
    assert_eq!(verify(hs512, Some("b"), b), Ok(7));
    assert_eq!(verify(hs256, Some("elsewhere"), SECRET), Ok(7), "keys without kid are tried for every token");
    assert_eq!(
        verify(hs256, Some("b"), a),
        Err(TokenRejectReason::BadSignature),
        "kid b is not signed with a"
    );
    assert_eq!(
        verify(hs512, Some("a"), b),
        Err(TokenRejectReason::UnknownKey),
        "and no HS512 key is called a"
    );
    assert_eq!(verify(hs256, None, "unknown"), Err(TokenRejectReason::BadSignature));
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
fn without_keys_no_token_is_accepted() {
    let server = authenticator(json!({}));
    assert!(!server.has_keys() && shared().has_keys());
    for token in ["", "x", &hs256(&claims(json!({})))] {
        assert_eq!(server.verify(token, NOW), Err(TokenRejectReason::NoKeys));
    }
    assert_eq!(problems(json!({"algorithms": ["HS1"]})).len(), 1);
}

#[test]
fn a_short_secret_is_accepted_with_a_warning() {
    let server = authenticator(json!({"secret": "17 bytes of text!"}));
    assert_eq!(server.warnings().len(), 1);
    assert!(server.warnings()[0].to_string().starts_with("auth.secret: has 17 bytes"));
    assert!(shared().warnings().is_empty());
}

#[test]
fn issued_tokens_are_accepted() {
    for json in [
        json!({"secret": SECRET}),
        json!({"secret": SECRET, "algorithms": ["HS512"], "issuer": "i", "audience": "a"}),
        json!({"keys": [{"algorithm": "HS384", "kid": "k", "secret": SECRET}]}),
    ] {
        let settings = settings(json);
        let channel = ChannelName::new("chat:部屋").unwrap();
        let token =
            TokenIssuer::new(&settings).unwrap().issue(&7.into(), "Aoi", &channel, Duration::from_secs(60));
        let now = jsonwebtoken::get_current_timestamp();
        let identity = Authenticator::new(&settings).unwrap().verify(&token, now).unwrap();
        assert_eq!((identity.id, &*identity.name, &identity.channel), (7.into(), "Aoi", &channel));
        assert!((now + 59..=now + 60).contains(&identity.expires_at));
    }
    let only_public = json!({"keys": [{"algorithm": "RS256", "public_key_file": file("rsa.public.pem")}]});
    assert_eq!(TokenIssuer::new(&settings(only_public)).unwrap_err(), NoSigningKeyError);
}

#[test]
fn nothing_secret_is_printed() {
    let settings = settings(json!({"secret": SECRET}));
    let issuer = TokenIssuer::new(&settings).unwrap();
    let text = format!("{settings:?} {issuer:?} {:?}", Authenticator::new(&settings).unwrap());
    assert!(!text.contains("thirty-two"), "{text}");
    // Nor as a list of numbers.
    assert!(!text.contains("116, 104, 105"), "{text}");
}
