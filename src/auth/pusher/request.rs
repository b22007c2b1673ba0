use std::borrow::Cow;
use std::collections::BTreeMap;

use md5::{Digest, Md5};
use percent_encoding::percent_decode_str;
use thiserror::Error;

use super::App;

/// How far `auth_timestamp` may be from the server's clock, in seconds.
pub const TIMESTAMP_TOLERANCE: u64 = 600;

/// A call of the HTTP API, as it was signed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// The path as it is in the request line, without the query.
    pub path: &'a str,
    /// The query as it is in the request line, without the `?`.
    pub query: &'a str,
    /// The body; empty where there is none.
    pub body: &'a [u8],
}

/// Why a call was refused: always status 401. The text says what to set right and quotes nothing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RequestRefusal {
    /// A parameter is not there.
    #[error("the query parameter {0} is missing: sign the request as the Pusher HTTP API demands")]
    Missing(&'static str),
    /// A parameter of the signature is there twice.
    #[error("the query names {0} more than once")]
    Repeated(&'static str),
    /// `auth_key` is not the app's.
    #[error("auth_key is not the key of this app")]
    UnknownKey,
    /// `auth_version` is not 1.0.
    #[error("auth_version must be 1.0")]
    Version,
    /// `auth_timestamp` is not a number of seconds.
    #[error("auth_timestamp must be the time in whole seconds since 1970")]
    InvalidTimestamp,
    /// `auth_timestamp` is too far from now.
    #[error("auth_timestamp is more than {TIMESTAMP_TOLERANCE} s off: are both clocks right?")]
    StaleTimestamp,
    /// `body_md5` is not the hash of the body.
    #[error("body_md5 is not the MD5 of the body: was the body changed on the way?")]
    BodyChanged,
    /// No secret of the app made the signature.
    #[error("auth_signature is wrong: was it made with this app's secret, for this method and path?")]
    BadSignature,
}

/// The signed parameters: keys in lower case, in their order, values decoded.
type Parameters = BTreeMap<String, Vec<String>>;

const SIGNATURE: &str = "auth_signature";

impl App {
    /// Checks the signature of a call. `now` is in seconds since the Unix epoch.
    pub fn verify_request(&self, request: &Request<'_>, now: u64) -> Result<(), RequestRefusal> {
        self.verify_call(request, Some(request.body), now)
    }

    /// Checks the signature of a call whose body has not come yet, so that nobody else's body has to be read. That the
    /// body is the one that was signed, [`App::verify_request`] still has to say.
    pub fn verify_head(&self, request: &Request<'_>, now: u64) -> Result<(), RequestRefusal> {
        self.verify_call(request, None, now)
    }

    fn verify_call(
        &self,
        request: &Request<'_>,
        body: Option<&[u8]>,
        now: u64,
    ) -> Result<(), RequestRefusal> {
        let mut parameters = read(request.query);
        if one(&parameters, "auth_key")? != &**self.key() {
            return Err(RequestRefusal::UnknownKey);
        }
        if one(&parameters, "auth_version")? != "1.0" {
            return Err(RequestRefusal::Version);
        }
        let timestamp = one(&parameters, "auth_timestamp")?;
        let timestamp: u64 = timestamp.parse().map_err(|_| RequestRefusal::InvalidTimestamp)?;
        if let Some(body) = body {
            match one(&parameters, "body_md5") {
                Ok(hash) if !hash.eq_ignore_ascii_case(&md5(body)) => {
                    return Err(RequestRefusal::BodyChanged);
                }
                Err(RequestRefusal::Missing(_)) if body.is_empty() => {}
                Err(refusal) => return Err(refusal),
                Ok(_) => {}
            }
        }
        let signature = one(&parameters, SIGNATURE)?.to_owned();
        parameters.remove(SIGNATURE);
        let made =
            |path: &str| self.made(&signature, &[signed_text(request.method, path, &parameters).as_bytes()]);
        if !made(request.path) && !unescaped(request.path).is_some_and(|path| made(&path)) {
            return Err(RequestRefusal::BadSignature);
        }
        // After the signature: only its owner learns how far the clocks differ.
        if now.abs_diff(timestamp) > TIMESTAMP_TOLERANCE {
            return Err(RequestRefusal::StaleTimestamp);
        }
        Ok(())
    }

    /// The query of a signed call: the parameters of `request.query` and those of the signature.
    #[must_use]
    pub fn sign_request(&self, request: &Request<'_>, now: u64) -> String {
        let mut parameters = read(request.query);
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

fn read(query: &str) -> Parameters {
    let mut parameters = Parameters::new();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        parameters.entry(key.to_lowercase()).or_default().push(value.into_owned());
    }
    parameters
}

/// A parameter that counts once: of two, one could be checked and the other one used.
fn one<'a>(parameters: &'a Parameters, name: &'static str) -> Result<&'a str, RequestRefusal> {
    match parameters.get(name).map(Vec::as_slice) {
        Some([value]) => Ok(value),
        Some([_, _, ..]) => Err(RequestRefusal::Repeated(name)),
        _ => Err(RequestRefusal::Missing(name)),
    }
}

/// The path without its escapes, if it has any: Pusher's own libraries sign it so, and escape it only on the way, as in
/// `users/a%20b/terminate_connections`.
fn unescaped(path: &str) -> Option<Cow<'_, str>> {
    let text = percent_decode_str(path).decode_utf8().ok()?;
    // A line break would end the path where it does not.
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
