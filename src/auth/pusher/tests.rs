//! The test vectors are those of Pusher's documentation.

use proptest::prelude::*;
use secrecy::SecretString;

use super::*;

const KEY: &str = "278d425bdf160c739803";
const SECRET: &str = "7ad3773142a6692b25b8";
const SOCKET: &str = "1234.1234";
const EVENT: &str = r#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
const EVENT_QUERY: &str = "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&body_md5=ec365a775a4cd0599faeb73354201b6f&auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c";
const THEN: u64 = 1_353_088_179;

fn app() -> AppCredentials {
    AppCredentials::new("3", KEY, vec![SecretString::from(SECRET)]).unwrap()
}

fn event<'a>(query: &'a str, body: &'a str) -> SignedRequest<'a> {
    SignedRequest { method: "POST", path: "/apps/3/events", query, body: body.as_bytes() }
}

#[test]
fn the_documented_private_channel_signature_is_reproduced() {
    let auth = format!("{KEY}:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4");
    assert_eq!(app().sign_channel(SOCKET, "private-foobar", None), auth);
    assert_eq!(app().verify_channel(&auth, SOCKET, "private-foobar", None), Ok(()));
    for (socket, channel, data) in [
        ("1234.1235", "private-foobar", None),
        (SOCKET, "private-foobaz", None),
        (SOCKET, "private-foobar", Some("")),
    ] {
        assert_eq!(app().verify_channel(&auth, socket, channel, data), Err(AuthRejectReason::BadSignature));
    }
}

#[test]
fn the_documented_presence_channel_signature_is_reproduced() {
    // The documents print this signature beside the name "Mr. Channels"; it is of the older name.
    let auth = format!("{KEY}:afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c");
    let data = r#"{"user_id":10,"user_info":{"name":"Mr. Pusher"}}"#;
    assert_eq!(app().sign_channel(SOCKET, "presence-foobar", Some(data)), auth);
    assert_eq!(app().verify_channel(&auth, SOCKET, "presence-foobar", Some(data)), Ok(()));
    let other = data.replace("Pusher", "Channels");
    let refused = app().verify_channel(&auth, SOCKET, "presence-foobar", Some(&other));
    assert_eq!(refused, Err(AuthRejectReason::BadSignature));
}

#[test]
fn the_documented_user_signature_is_reproduced() {
    let auth = format!("{KEY}:4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba");
    assert_eq!(app().sign_user(SOCKET, r#"{"id":"12345"}"#), auth);
    assert_eq!(app().verify_user(&auth, SOCKET, r#"{"id":"12345"}"#), Ok(()));
    assert_eq!(app().verify_user(&auth, SOCKET, r#"{"id":"1234"}"#), Err(AuthRejectReason::BadSignature));
}

#[test]
fn an_invalid_client_auth_is_rejected() {
    let verify = |auth: &str| app().verify_channel(auth, SOCKET, "private-foobar", None);
    assert_eq!(verify(""), Err(AuthRejectReason::Missing));
    assert_eq!(verify("x"), Err(AuthRejectReason::Malformed));
    assert_eq!(verify("other:58"), Err(AuthRejectReason::OtherApp));
    for signature in ["", "58df", "zz", "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3"] {
        assert_eq!(verify(&format!("{KEY}:{signature}")), Err(AuthRejectReason::BadSignature), "{signature}");
    }
}

#[test]
fn the_documented_request_signature_is_reproduced() {
    assert_eq!(app().verify_request(&event(EVENT_QUERY, EVENT), THEN), Ok(()));
    for now in [THEN - 600, THEN + 600] {
        assert_eq!(app().verify_request(&event(EVENT_QUERY, EVENT), now), Ok(()));
    }
    for now in [THEN - 601, THEN + 601] {
        let refused = app().verify_request(&event(EVENT_QUERY, EVENT), now);
        assert_eq!(refused, Err(RequestRejectReason::StaleTimestamp));
    }
    let signed = app().sign_request(&event("", EVENT), THEN);
    assert!(
        signed.contains("auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c")
    );
}

#[test]
fn keys_are_sorted_and_lower_cased_and_values_are_not_encoded() {
    let request = SignedRequest {
        method: "GET",
        path: "/apps/3/channels",
        query: "Info=user_count%2Csubscription_count&filter_by_prefix=presence-%40",
        body: b"",
    };
    let signed = app().sign_request(&request, THEN);
    assert_eq!(app().verify_request(&SignedRequest { query: &signed, ..request }, THEN), Ok(()));
    let text = "GET\n/apps/3/channels\nauth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&filter_by_prefix=presence-@&info=user_count,subscription_count";
    assert!(signed.contains(&app().sign(&[text.as_bytes()])));
    let upper = signed.replace("info=", "INFO=");
    assert_eq!(app().verify_request(&SignedRequest { query: &upper, ..request }, THEN), Ok(()));
}

#[test]
fn a_path_is_signed_as_it_is_sent_or_without_its_escapes() {
    let verify = |signed: &str, sent: &str| {
        let request = SignedRequest { method: "POST", path: signed, query: "", body: b"{}" };
        let query = app().sign_request(&request, THEN);
        app().verify_request(&SignedRequest { path: sent, query: &query, ..request }, THEN)
    };
    let sent = "/apps/3/users/a%20%E5%B1%B1/terminate_connections";
    assert_eq!(verify(sent, sent), Ok(()));
    assert_eq!(verify("/apps/3/users/a 山/terminate_connections", sent), Ok(()));
    for (signed, sent) in [
        ("/apps/3/users/a b/terminate_connections", sent),
        ("/apps/3/users/%20/x", "/apps/3/users/%2520/y"),
        ("/apps/3/users/a\n/x", "/apps/3/users/a%0a/x"),
        ("/apps/3/users/\u{fffd}/x", "/apps/3/users/%ff/x"),
    ] {
        assert_eq!(verify(signed, sent), Err(RequestRejectReason::BadSignature), "{sent}");
    }
}

#[test]
fn an_unsigned_or_altered_request_is_rejected() {
    let refused = |query: &str, body: &str| app().verify_request(&event(query, body), THEN).unwrap_err();
    assert_eq!(refused("", EVENT), RequestRejectReason::Missing("auth_key"));
    assert_eq!(refused(&EVENT_QUERY.replace(KEY, "k"), EVENT), RequestRejectReason::UnknownKey);
    assert_eq!(refused(&EVENT_QUERY.replace("=1.0", "=2.0"), EVENT), RequestRejectReason::Version);
    assert_eq!(refused(&EVENT_QUERY.replace("=135308", "=x"), EVENT), RequestRejectReason::InvalidTimestamp);
    assert_eq!(refused(EVENT_QUERY, "{}"), RequestRejectReason::BodyChanged);
    assert_eq!(refused(&EVENT_QUERY.replace("ec365a", "ec365b"), EVENT), RequestRejectReason::BodyChanged);
    assert_eq!(
        refused(&EVENT_QUERY.replace("body_md5", "bodymd5"), EVENT),
        RequestRejectReason::Missing("body_md5")
    );
    assert_eq!(refused(&EVENT_QUERY.replace("=da4548", "=da4549"), EVENT), RequestRejectReason::BadSignature);
    assert_eq!(refused(&format!("{EVENT_QUERY}&x=1"), EVENT), RequestRejectReason::BadSignature);
    let twice = format!("{EVENT_QUERY}&AUTH_KEY={KEY}");
    assert_eq!(refused(&twice, EVENT), RequestRejectReason::Repeated("auth_key"));
    let other = SignedRequest { path: "/apps/4/events", ..event(EVENT_QUERY, EVENT) };
    assert_eq!(app().verify_request(&other, THEN), Err(RequestRejectReason::BadSignature));
    let other = SignedRequest { method: "GET", ..event(EVENT_QUERY, EVENT) };
    assert_eq!(app().verify_request(&other, THEN), Err(RequestRejectReason::BadSignature));
}

#[test]
fn a_head_is_verified_before_its_body_has_arrived() {
    let head = |query: &str| app().verify_head(&event(query, ""), THEN);
    assert_eq!(head(EVENT_QUERY), Ok(()));
    assert_eq!(head(&EVENT_QUERY.replace("ec365a", "ec365b")), Err(RequestRejectReason::BadSignature));
    assert_eq!(head(&EVENT_QUERY.replace(KEY, "k")), Err(RequestRejectReason::UnknownKey));
    assert_eq!(
        app().verify_head(&event(EVENT_QUERY, ""), THEN + 601),
        Err(RequestRejectReason::StaleTimestamp)
    );
}

#[test]
fn a_secret_can_be_replaced() {
    let both =
        AppCredentials::new("3", KEY, vec![SecretString::from("new"), SecretString::from(SECRET)]).unwrap();
    assert_eq!(both.verify_request(&event(EVENT_QUERY, EVENT), THEN), Ok(()));
    let new = AppCredentials::new("3", KEY, vec![SecretString::from("new")]).unwrap();
    assert_eq!(new.verify_request(&event(EVENT_QUERY, EVENT), THEN), Err(RequestRejectReason::BadSignature));
    assert_eq!(both.sign_webhook(b"{}"), new.sign_webhook(b"{}"));
}

#[test]
fn webhook_signatures_match_the_rfc_4231_vector() {
    // RFC 4231, test case 2.
    let app = AppCredentials::new("1", "k", vec![SecretString::from("Jefe")]).unwrap();
    assert_eq!(
        app.sign_webhook(b"what do ya want for nothing?"),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
}

#[test]
fn invalid_credentials_are_rejected() {
    let new = |id, key, secrets: &[&str]| {
        AppCredentials::new(id, key, secrets.iter().map(|text| SecretString::from(*text)).collect())
            .unwrap_err()
    };
    assert_eq!(new("", "k", &["s"]), CredentialsError::NoId);
    assert_eq!(new("1", "", &["s"]), CredentialsError::NoKey);
    assert_eq!(new("1", "a:b", &["s"]), CredentialsError::KeyCharacter);
    assert_eq!(new("1", "k", &[]), CredentialsError::NoSecret);
    assert_eq!(new("1", "k", &["s", ""]), CredentialsError::NoSecret);
    assert!(!format!("{:?}", app()).contains(SECRET));
}

proptest! {
    #[test]
    fn a_signed_request_is_accepted(query in "[ -~]{0,40}", body in any::<String>(), now in 0..u64::MAX / 2) {
        prop_assume!(!["auth_", "body_md5"].iter().any(|name| query.to_lowercase().contains(name)));
        prop_assume!(!query.contains('%'));
        let request = event(&query, &body);
        let signed = app().sign_request(&request, now);
        prop_assert_eq!(app().verify_request(&SignedRequest { query: &signed, ..request }, now), Ok(()));
    }

    #[test]
    fn arbitrary_queries_do_not_panic(query in any::<String>(), auth in any::<String>()) {
        prop_assert!(app().verify_request(&event(&query, EVENT), THEN).is_err());
        prop_assert!(app().verify_channel(&auth, SOCKET, "private-a", None).is_err());
    }
}
