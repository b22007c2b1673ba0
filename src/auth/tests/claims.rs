//! The claims that a token must have.

use serde_json::json;

use super::*;

#[test]
fn a_valid_token_yields_its_claims() {
    let identity = shared().verify(&hs256(&claims(json!({}))), NOW).unwrap();
    assert_eq!(
        identity,
        Identity {
            id: 7.into(),
            name: "Aoi".into(),
            channel: ChannelName::new("chat:default").unwrap(),
            expires_at: NOW + 60,
            issued_at: Some(NOW - 60),
            jti: None,
        }
    );
}

#[test]
fn any_jti_is_accepted() {
    for (jti, text) in [(json!("a\"山"), "a\"山"), (json!(42), "42"), (json!([null]), "[null]")] {
        let identity = shared().verify(&hs256(&claims(json!({"jti": jti}))), NOW).unwrap();
        assert_eq!(identity.jti.as_deref(), Some(text));
    }
    let identity = shared().verify(&hs256(&claims(json!({"jti": null}))), NOW).unwrap();
    assert_eq!(identity.jti, None);
}

#[test]
fn a_token_signed_by_php_is_accepted() {
    // firebase/php-jwt escapes slashes and everything above ASCII.
    let payload = format!(
        r#"{{"id":-3,"name":"\u846a \"A\\\/","channel":"chat:\u90e8\u5c4b","iat":1,"exp":{}}}"#,
        NOW + 1
    );
    let identity = shared().verify(&raw(r#"{"typ":"JWT","alg":"HS256"}"#, &payload), NOW).unwrap();
    assert_eq!(
        (identity.id, &*identity.name, identity.channel.as_str()),
        ((-3).into(), "葪 \"A\\/", "chat:部屋")
    );
}

#[test]
fn an_id_may_be_a_string() {
    for id in ["9d2f4c1e-7b1a-4e0e-9a53-3f1f5a0d6c11", "7", "\u{0}", "山"] {
        let identity = shared().verify(&hs256(&claims(json!({"id": id}))), NOW).unwrap();
        assert_eq!(identity.id.form(), Err(id));
    }
}

#[test]
fn exp_has_no_leeway() {
    let token = hs256(&claims(json!({"exp": NOW})));
    assert!(shared().verify(&token, NOW - 1).is_ok());
    assert_eq!(shared().verify(&token, NOW).map_err(TokenRejectReason::code), Err("token_expired"));
    assert_eq!(
        shared().verify(&hs256(&claims(json!({"exp": -1}))), NOW).map_err(TokenRejectReason::code),
        Err("token_expired")
    );
}

#[test]
fn nbf_is_enforced() {
    let token = hs256(&claims(json!({"nbf": NOW})));
    assert_eq!(shared().verify(&token, NOW - 1).map_err(TokenRejectReason::code), Err("token_not_yet_valid"));
    assert!(shared().verify(&token, NOW).is_ok());
    assert!(shared().verify(&hs256(&claims(json!({"nbf": -5}))), NOW).is_ok());
}

#[test]
fn fractions_of_a_second_are_truncated() {
    let verify =
        |changes: Value, now| shared().verify(&hs256(&claims(changes)), now).map(|token| token.expires_at);
    assert_eq!(verify(json!({"exp": 1_800_000_001.9}), NOW), Ok(NOW + 1));
    assert_eq!(
        verify(json!({"exp": 1_800_000_001.9}), NOW + 1).map_err(TokenRejectReason::code),
        Err("token_expired")
    );
    assert_eq!(verify(json!({"iat": 1_800_000_000.7, "nbf": 1_800_000_000.7}), NOW), Ok(NOW + 60));
    assert_eq!(
        verify(json!({"nbf": 1_800_000_001.0}), NOW).map_err(TokenRejectReason::code),
        Err("token_not_yet_valid")
    );
    assert_eq!(verify(json!({"exp": -0.5}), NOW).map_err(TokenRejectReason::code), Err("token_expired"));
    for far in [json!(1e300), json!(u64::MAX)] {
        assert_eq!(verify(json!({"exp": far}), NOW), Ok(u64::MAX), "{far}");
    }
}

#[test]
fn leeway_applies_to_exp_and_nbf() {
    let lenient = authenticator(json!({"secret": SECRET, "leeway": "30s"}));
    let verify = |changes: Value| lenient.verify(&hs256(&claims(changes)), NOW).map(|token| token.expires_at);
    assert_eq!(verify(json!({"exp": NOW - 29, "nbf": NOW + 30})), Ok(NOW + 1));
    assert_eq!(verify(json!({"exp": NOW - 30})).map_err(TokenRejectReason::code), Err("token_expired"));
    assert_eq!(verify(json!({"nbf": NOW + 31})).map_err(TokenRejectReason::code), Err("token_not_yet_valid"));
    assert_eq!(verify(json!({"exp": u64::MAX})), Ok(u64::MAX));
}

#[test]
fn iat_only_has_its_type_checked() {
    assert!(shared().verify(&hs256(&claims(json!({"iat": NOW + 1_000_000}))), NOW).is_ok());
    let mut without = claims(json!({}));
    without.as_object_mut().unwrap().remove("iat");
    assert!(shared().verify(&hs256(&without), NOW).is_ok());
}

#[test]
fn claims_must_have_their_types() {
    for (claim, wrong) in [
        (
            "id",
            vec![
                json!(""),
                json!("x".repeat(65)),
                json!(7.0),
                json!(7.5),
                json!(null),
                json!(true),
                json!(u64::MAX),
                json!([7]),
            ],
        ),
        ("name", vec![json!(7), json!(null), json!({}), json!(["Aoi"])]),
        ("channel", vec![json!(7), json!(null), json!([]), json!(""), json!("a\nb"), json!("a".repeat(201))]),
        ("exp", vec![json!("1900000000"), json!(null), json!(true)]),
        ("iat", vec![json!("1"), json!(null)]),
        ("nbf", vec![json!("1"), json!(null)]),
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
fn a_payload_that_is_not_an_object_is_rejected() {
    for payload in ["null", "[]", "7", "\"x\"", "", "{", "{\"id\":1,\"id\":2}"] {
        let refusal = shared().verify(&raw(r#"{"alg":"HS256"}"#, payload), NOW).unwrap_err();
        assert_eq!(refusal.code(), "invalid_claims", "{payload}");
    }
}

#[test]
fn issuer_and_audience_are_checked_if_configured() {
    let strict = authenticator(json!({"secret": SECRET, "issuer": "https://app", "audience": "live"}));
    let verify = |changes| strict.verify(&hs256(&claims(changes)), NOW).map(|_| ());
    assert_eq!(verify(json!({"iss": "https://app", "aud": "live"})), Ok(()));
    assert_eq!(verify(json!({"iss": "https://app", "aud": ["other", "live"]})), Ok(()));
    assert_eq!(verify(json!({"iss": "https://app/", "aud": "live"})), Err(TokenRejectReason::WrongIssuer));
    assert_eq!(verify(json!({"aud": "live"})), Err(TokenRejectReason::WrongIssuer));
    for aud in [json!("other"), json!([]), json!(["live2"]), json!(null)] {
        assert_eq!(verify(json!({"iss": "https://app", "aud": aud})), Err(TokenRejectReason::WrongAudience));
    }
    assert!(shared().verify(&hs256(&claims(json!({"iss": "any", "aud": ["any"]}))), NOW).is_ok());
}

#[test]
fn a_reject_reason_states_the_time_difference() {
    let refused = |claim: &str, at: u64| {
        let token = hs256(&claims(json!({ claim: at })));
        shared().verify(&token, NOW).unwrap_err().to_string()
    };
    assert_eq!(refused("exp", NOW), "the token expired 0 s ago");
    assert_eq!(refused("exp", NOW - 10), "the token expired 10 s ago");
    assert_eq!(refused("exp", NOW - 3_600), "the token expired 60 min ago");
    assert_eq!(refused("exp", NOW - 40 * 3_600), "the token expired 40 h ago");
    assert_eq!(refused("exp", NOW - 90 * 86_400), "the token expired 90 days ago");
    assert_eq!(refused("nbf", NOW + 10), "the token is not valid for another 10 s");
}
