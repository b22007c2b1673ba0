//! Who may use the API.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::{HeaderMap, header};
use ring::digest::{SHA256, digest};
use secrecy::ExposeSecret;
use thiserror::Error;

use super::{ApiKeySettings, Scope};

/// The keys of the API, which all ports share. They can be replaced while requests are served.
#[derive(Debug)]
pub struct ApiKeys(ArcSwap<Vec<ApiKey>>);

/// The access to the API on one port.
#[derive(Debug, Clone)]
pub struct Access {
    keys: Arc<ApiKeys>,
    /// Whether requests are permitted while there are no keys.
    is_open_without_keys: bool,
}

struct ApiKey {
    name: Arc<str>,
    digest: [u8; 32],
    scopes: Arc<[Scope]>,
}

/// The key of a permitted request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// `None`: there are no keys, and the port is on a loopback address.
    key: Option<CallerKey>,
}

#[derive(Clone, PartialEq, Eq)]
struct CallerKey {
    name: Arc<str>,
    /// Of its secret.
    digest: [u8; 32],
    scopes: Arc<[Scope]>,
}

/// Why a request is rejected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AccessError {
    #[error("the request needs a key: send it as `Authorization: Bearer SECRET`")]
    NoKey,
    #[error("no key in [[api.keys]] has this secret")]
    UnknownKey,
    #[error("the key {name:?} lacks the scope {scope:?}: add it to its scopes in [[api.keys]]")]
    MissingScope { name: Arc<str>, scope: String },
    #[error(
        "there is no key, and this port is not on a loopback address: set [[api.keys]] with a name, a secret and scopes"
    )]
    NoKeys,
}

impl ApiKeys {
    #[must_use]
    pub fn new(keys: &[ApiKeySettings]) -> Self {
        Self(ArcSwap::from_pointee(api_keys(keys)))
    }

    /// Replaces all keys, for the next request.
    pub fn set(&self, keys: &[ApiKeySettings]) {
        self.0.store(Arc::new(api_keys(keys)));
    }
}

fn api_keys(keys: &[ApiKeySettings]) -> Vec<ApiKey> {
    keys.iter()
        .map(|key| ApiKey {
            name: key.name.as_str().into(),
            digest: sha256(key.secret.expose_secret().as_bytes()),
            scopes: key.scopes.as_slice().into(),
        })
        .collect()
}

impl Access {
    /// The access on the operators' port. While there are no keys, it is open on a loopback address and closed on any other.
    #[must_use]
    pub fn operators(keys: Arc<ApiKeys>, address: IpAddr) -> Self {
        Self { keys, is_open_without_keys: address.to_canonical().is_loopback() }
    }

    /// The access on the public port: with a key only.
    #[must_use]
    pub fn public(keys: Arc<ApiKeys>) -> Self {
        Self { keys, is_open_without_keys: false }
    }

    /// Permits a request, or says why not.
    pub fn check(&self, headers: &HeaderMap, scope: Scope) -> Result<Caller, AccessError> {
        let caller = self.identify(headers)?;
        if caller.permits(scope) {
            return Ok(caller);
        }
        let name = caller.key.map_or_else(|| "".into(), |key| key.name);
        Err(AccessError::MissingScope { name, scope: scope.to_string() })
    }

    /// Who sends a request, whatever their scopes.
    pub(super) fn identify(&self, headers: &HeaderMap) -> Result<Caller, AccessError> {
        let keys = self.keys.0.load();
        let secret = bearer(headers);
        if keys.is_empty() {
            return match secret {
                _ if !self.is_open_without_keys => Err(AccessError::NoKeys),
                // The commands of the documents, without a value for `$KEY`.
                None | Some(b"") => Ok(Caller { key: None }),
                // Whoever sends a key expects that it counts.
                Some(_) => Err(AccessError::UnknownKey),
            };
        }
        let key = find(&keys, secret.ok_or(AccessError::NoKey)?).ok_or(AccessError::UnknownKey)?;
        let ApiKey { name, digest, scopes } = key;
        Ok(Caller { key: Some(CallerKey { name: name.clone(), digest: *digest, scopes: scopes.clone() }) })
    }

    /// Whether a caller of before would still be permitted: keys can be replaced while a response is sent.
    pub(super) fn still_permits(&self, caller: &Caller, scope: Scope) -> bool {
        let keys = self.keys.0.load();
        match &caller.key {
            None => keys.is_empty() && self.is_open_without_keys,
            Some(of) => keys
                .iter()
                .any(|key| key.digest == of.digest && key.scopes.iter().any(|own| own.permits(scope))),
        }
    }
}

/// Compares with every key, each in constant time, so that the time reveals nothing about the secrets.
fn find<'a>(keys: &'a [ApiKey], secret: &[u8]) -> Option<&'a ApiKey> {
    let wanted = sha256(secret);
    let mut found = None;
    for key in keys {
        let difference =
            key.digest.iter().zip(&wanted).fold(0, |difference, (one, other)| difference | (one ^ other));
        if difference == 0 {
            found = Some(key);
        }
    }
    found
}

impl Caller {
    /// The name of the key, for logs and metrics. Empty without a key.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.as_ref().map_or("", |key| &*key.name)
    }

    /// Whether the key has this scope.
    pub(super) fn permits(&self, scope: Scope) -> bool {
        self.key.as_ref().is_none_or(|key| key.scopes.iter().any(|own| own.permits(scope)))
    }
}

/// The bearer token. Several `Authorization` headers, or one that is no text, are a token that no key has.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    if values.next().is_some() {
        // A secret is trimmed.
        return Some(b" ");
    }
    let (scheme, token) = value.split_at_checked(6)?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && (token.is_empty() || token.starts_with(b" "));
    is_bearer.then(|| token.trim_ascii())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *to = *from;
    }
    hash
}

impl fmt::Debug for CallerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn keys() -> Arc<ApiKeys> {
        Arc::new(ApiKeys::new(&settings()))
    }

    fn none() -> Arc<ApiKeys> {
        Arc::new(ApiKeys::new(&[]))
    }

    fn settings() -> Vec<ApiKeySettings> {
        let key = |name: &str, secret: &str, scopes: &[Scope]| ApiKeySettings {
            name: name.into(),
            secret: secret.into(),
            scopes: scopes.into(),
        };
        vec![
            key("laravel", SECRET, &[Scope::Publish, Scope::Read]),
            key("ops", &SECRET.replace('0', "x"), &[Scope::All]),
        ]
    }

    fn check(access: &Access, authorization: &[&str], scope: Scope) -> Result<String, AccessError> {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        access.check(&headers, scope).map(|caller| caller.name().to_owned())
    }

    #[test]
    fn a_key_permits_its_scopes_only() {
        let access = Access::public(keys());
        let laravel = format!("Bearer {SECRET}");
        assert_eq!(check(&access, &[&laravel], Scope::Publish).unwrap(), "laravel");
        assert_eq!(check(&access, &[&laravel.replace("Bearer", "bEARER")], Scope::Read).unwrap(), "laravel");
        let error = check(&access, &[&laravel], Scope::Disconnect).unwrap_err();
        assert!(error.to_string().contains("\"laravel\" lacks the scope \"disconnect\""), "{error}");
        for scope in [Scope::Publish, Scope::Read, Scope::Disconnect, Scope::Revoke, Scope::Reload] {
            assert_eq!(check(&access, &[&laravel.replace('0', "x")], scope).unwrap(), "ops");
        }
    }

    #[test]
    fn other_secrets_are_rejected() {
        for access in [Access::public(keys()), Access::operators(keys(), [127, 0, 0, 1].into())] {
            for wrong in [
                "Bearer",
                "Bearer ",
                "Bearer x",
                &format!("Bearer {}", &SECRET[1..]),
                &format!("Bearer {SECRET}0"),
            ] {
                assert_eq!(check(&access, &[wrong], Scope::Read), Err(AccessError::UnknownKey), "{wrong}");
            }
            let good = format!("Bearer {SECRET}");
            assert_eq!(check(&access, &[&good, &good], Scope::Read), Err(AccessError::UnknownKey));
        }
    }

    #[test]
    fn a_key_is_needed_as_soon_as_there_is_one() {
        let loopback = [[127, 0, 0, 1].into(), IpAddr::V6("::ffff:127.0.0.1".parse().unwrap())];
        for address in loopback {
            let access = Access::operators(none(), address);
            assert_eq!(check(&access, &[], Scope::All).unwrap(), "");
            assert_eq!(check(&access, &["Basic x"], Scope::All).unwrap(), "");
            for empty in ["Bearer", "Bearer "] {
                assert_eq!(check(&access, &[empty], Scope::All).unwrap(), "");
            }
            for key in [&["Bearer x"][..], &["Bearer", "Bearer"]] {
                assert_eq!(check(&access, key, Scope::All), Err(AccessError::UnknownKey));
            }
        }
        for access in [Access::operators(none(), [10, 0, 0, 1].into()), Access::public(none())] {
            assert_eq!(check(&access, &[], Scope::Read), Err(AccessError::NoKeys));
            assert_eq!(check(&access, &["Bearer x"], Scope::Read), Err(AccessError::NoKeys));
        }
        for address in [[127, 0, 0, 1].into(), [0, 0, 0, 0].into()] {
            let access = Access::operators(keys(), address);
            for authorization in [&[][..], &["Basic x"]] {
                assert_eq!(check(&access, authorization, Scope::Read), Err(AccessError::NoKey));
            }
        }
    }

    #[test]
    fn a_caller_of_before_is_permitted_as_long_as_the_key_has_the_scope() {
        let keys = keys();
        let access = Access::operators(keys.clone(), [127, 0, 0, 1].into());
        let mut headers = HeaderMap::new();
        headers.append(header::AUTHORIZATION, format!("Bearer {SECRET}").parse().unwrap());
        let caller = access.identify(&headers).unwrap();
        assert!(caller.permits(Scope::Read) && !caller.permits(Scope::Tail));
        assert!(access.still_permits(&caller, Scope::Read) && !access.still_permits(&caller, Scope::Tail));
        keys.set(&settings()[1..]);
        assert!(!access.still_permits(&caller, Scope::Read));
        keys.set(&[]);
        assert!(!access.still_permits(&caller, Scope::Read));
        let anyone = access.identify(&HeaderMap::new()).unwrap();
        assert!(access.still_permits(&anyone, Scope::Read));
        keys.set(&settings());
        assert!(!access.still_permits(&anyone, Scope::Read));
    }

    #[test]
    fn replaced_keys_count_for_all_ports() {
        let keys = none();
        let ports = [Access::operators(keys.clone(), [127, 0, 0, 1].into()), Access::public(keys.clone())];
        keys.set(&settings()[..1]);
        let secret = format!("Bearer {SECRET}");
        for access in &ports {
            assert_eq!(check(access, &[], Scope::Read), Err(AccessError::NoKey));
            assert_eq!(check(access, &[&secret], Scope::Read).unwrap(), "laravel");
        }
        keys.set(&settings()[1..]);
        for access in &ports {
            assert_eq!(check(access, &[&secret], Scope::Read), Err(AccessError::UnknownKey));
        }
    }

    #[test]
    fn the_secret_is_not_shown() {
        assert!(!format!("{:?}", Access::public(keys())).contains("0123"));
    }
}
