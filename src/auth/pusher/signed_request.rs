use std::borrow::Cow;
use std::collections::BTreeMap;

use md5::{Digest, Md5};
use percent_encoding::percent_decode_str;
use thiserror::Error;

use super::AppCredentials;

/// How far `auth_timestamp` may differ from the server's clock, in seconds.
const TIMESTAMP_TOLERANCE: u64 = 600;

/// A signed request to the HTTP API.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// In upper case.
    pub method: &'a str,
    /// As in the request line, without the query.
    pub path: &'a str,
    /// As in the request line, without the `?`.
    pub query: &'a str,
    pub body: &'a [u8],
}

/// Why a request is rejected, always with status 401. The text says how to fix it and contains no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RequestRejectReason {
    #[error("the query parameter {0} is missing: sign the request as the Pusher HTTP API requires")]
    Missing(&'static str),
    #[error("the query contains {0} more than once")]
    Repeated(&'static str),
    #[error("auth_key is not the key of this app")]
    UnknownKey,
    #[error("auth_version must be 1.0")]
    Version,
    #[error("auth_timestamp must be Unix time in whole seconds")]
    InvalidTimestamp,
    #[error("auth_timestamp is more than {TIMESTAMP_TOLERANCE} s off: are both clocks right?")]
    StaleTimestamp,
    #[error("body_md5 is not the MD5 of the body: was the body changed on the way?")]
    BodyChanged,
    #[error("auth_signature is wrong: was it made with this app's secret, for this method and path?")]
    BadSignature,
}

/// The signed parameters: sorted keys in lower case, decoded values.
type Parameters = BTreeMap<String, Vec<String>>;

const SIGNATURE: &str = "auth_signature";

impl AppCredentials {
    /// Verifies a request's signature. `now` is Unix time in seconds.
    pub fn verify_request(&self, request: &SignedRequest<'_>, now: u64) -> Result<(), RequestRejectReason> {
        self.verify_parts(request, Some(request.body), now)
    }

    /// Verifies the signature before the body has arrived, so that the server reads bodies of authenticated requests only.
    /// Call [`AppCredentials::verify_request`] once the body is there.
    pub fn verify_head(&self, request: &SignedRequest<'_>, now: u64) -> Result<(), RequestRejectReason> {
        self.verify_parts(request, None, now)
    }

    fn verify_parts(
        &self,
        request: &SignedRequest<'_>,
        body: Option<&[u8]>,
        now: u64,
    ) -> Result<(), RequestRejectReason> {
        let mut parameters = parse_query(request.query);
        if one(&parameters, "auth_key")? != &**self.key() {
            return Err(RequestRejectReason::UnknownKey);
        }
        if one(&parameters, "auth_version")? != "1.0" {
            return Err(RequestRejectReason::Version);
        }
        let timestamp = one(&parameters, "auth_timestamp")?;
        let timestamp: u64 = timestamp.parse().map_err(|_| RequestRejectReason::InvalidTimestamp)?;
        if let Some(body) = body {
            match one(&parameters, "body_md5") {
                Ok(hash) if !hash.eq_ignore_ascii_case(&md5(body)) => {
                    return Err(RequestRejectReason::BodyChanged);
                }
                Err(RequestRejectReason::Missing(_)) if body.is_empty() => {}
                Err(reason) => return Err(reason),
                Ok(_) => {}
            }
        }
        let signature = one(&parameters, SIGNATURE)?.to_owned();
        parameters.remove(SIGNATURE);
        let is_signed = |path: &str| {
            self.verify_signature(&signature, &[signed_text(request.method, path, &parameters).as_bytes()])
        };
        if !is_signed(request.path) && !unescaped(request.path).is_some_and(|path| is_signed(&path)) {
            return Err(RequestRejectReason::BadSignature);
        }
        // Checked after the signature, so that only the secret's owner learns how far the clocks differ.
        if now.abs_diff(timestamp) > TIMESTAMP_TOLERANCE {
            return Err(RequestRejectReason::StaleTimestamp);
        }
        Ok(())
    }

    /// The query of a signed request: the parameters of `request.query` and those of the signature.
    #[must_use]
    pub fn sign_request(&self, request: &SignedRequest<'_>, now: u64) -> String {
        let mut parameters = parse_query(request.query);
        parameters.insert("auth_key".into(), vec![self.key().to_string()]);
        parameters.insert("auth_timestamp".into(), vec![now.to_string()]);
        parameters.insert("auth_version".into(), vec!["1.0".into()]);
        if !request.body.is_empty() {
            parameters.insert("body_md5".into(), vec![md5(request.body)]);
        }
        let signature = self.sign(&[signed_text(request.method, request.path, &parameters).as_bytes()]);
        parameters.insert(SIGNATURE.into(), vec![signature]);
        let pairs = parameters.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }
}

fn parse_query(query: &str) -> Parameters {
    let mut parameters = Parameters::new();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        parameters.entry(key.to_lowercase()).or_default().push(value.into_owned());
    }
    parameters
}

/// The single value of a parameter. With two, one could be verified and the other one used.
fn one<'a>(parameters: &'a Parameters, name: &'static str) -> Result<&'a str, RequestRejectReason> {
    match parameters.get(name).map(Vec::as_slice) {
        Some([value]) => Ok(value),
        Some([_, _, ..]) => Err(RequestRejectReason::Repeated(name)),
        _ => Err(RequestRejectReason::Missing(name)),
    }
}

/// The path without percent-encoding, if it has any: Pusher's libraries sign it in this form and encode it only for
/// sending, as in `users/a%20b/terminate_connections`.
fn unescaped(path: &str) -> Option<Cow<'_, str>> {
    let text = percent_decode_str(path).decode_utf8().ok()?;
    // A line break would end the path within the signed text.
    (*text != *path && !text.contains(char::is_control)).then_some(text)
}

fn signed_text(method: &str, path: &str, parameters: &Parameters) -> String {
    let mut text = format!("{method}\n{path}\n");
    let mut separator = "";
    for (key, value) in parameters.iter().flat_map(|(key, values)| values.iter().map(move |v| (key, v))) {
        text.extend([separator, key, "=", value]);
        separator = "&";
    }
    text
}

fn md5(body: &[u8]) -> String {
    hex::encode(Md5::digest(body))
}
