use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{HeaderName, HeaderValue};
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};

/// Signs the requests that concern native channels: `Yamabiko-Signature` is the HMAC-SHA256 of `TIMESTAMP.BODY` in lowercase
/// hexadecimal, and `Yamabiko-Timestamp` the time in Unix seconds.
#[derive(Clone)]
pub(super) struct RequestSigner(hmac::Key);

const TIMESTAMP: HeaderName = HeaderName::from_static("yamabiko-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("yamabiko-signature");

impl RequestSigner {
    pub(super) fn new(secret: &SecretString) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes()))
    }

    /// Adds both headers to a request with this body. `now` is in Unix seconds.
    pub(super) fn sign(&self, request: &mut Request<Full<Bytes>>, body: &[u8], now: u64) {
        let headers = request.headers_mut();
        headers.insert(TIMESTAMP, HeaderValue::from(now));
        if let Ok(signature) = HeaderValue::from_str(&self.signature(body, now)) {
            headers.insert(SIGNATURE, signature);
        }
    }

    fn signature(&self, body: &[u8], now: u64) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(now.to_string().as_bytes());
        context.update(b".");
        context.update(body);
        hex::encode(context.sign())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_signature() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret
        let signer = RequestSigner::new(&"secret".into());
        assert_eq!(
            signer.signature(br#"{"a":1}"#, 1_700_000_000),
            "49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686"
        );
    }
}
