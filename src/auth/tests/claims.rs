//! What a token has to say.

use serde_json::json;

use super::*;

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
