//! Tokens that an attacker may send.

use proptest::prelude::*;

use super::*;

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

    /// Detects any change of any byte, including the unused bits in the last character of a part.
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
        prop_assert_eq!((identity.id, &*identity.name), (id.into(), name.as_str()));
    }

    /// A reject reason must not quote the token.
    #[test]
    fn refusals_do_not_quote_the_token(secret_text in "[a-z]{12}") {
        for changes in [json!({"id": [&secret_text]}), json!({"exp": &secret_text}), json!({&secret_text: 1, "name": 5})] {
            let refusal = shared().verify(&hs256(&claims(changes)), NOW).unwrap_err();
            let text = format!("{refusal} {refusal:?}");
            prop_assert!(!text.contains(&secret_text));
        }
    }
}
