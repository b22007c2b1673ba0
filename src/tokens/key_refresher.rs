use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use crate::auth::{Authenticator, Jwks, JwksError};
use crate::telemetry::{Metrics, Reason};
use crate::tls;

/// How long a response may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The largest response, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// When the keys are fetched again if the response does not say.
const REFRESH_AFTER: Duration = Duration::from_secs(10 * 60);

/// The bounds of what a response can say.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// When a failed fetch is repeated: at first, and at most. Without keys, no client can connect.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const RETRY_AFTER_WITH_KEYS: Duration = SHORTEST;
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Keys that tokens name and the server does not have lead to one early fetch in this time.
const EARLY_FETCH_INTERVAL: Duration = Duration::from_secs(30);

type Http = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// Fetches the keys of `auth.jwks_url`, at the start and again and again. The last good ones stay when a fetch fails.
struct KeyRefresher {
    url: Uri,
    http: Http,
    authenticator: Arc<Authenticator>,
    metrics: Arc<Metrics>,
    unknown: Arc<Notify>,
}

/// Why the keys could not be fetched.
#[derive(Debug, Error)]
enum FetchError {
    #[error("no response within {} seconds", TIMEOUT.as_secs())]
    Timeout,
    #[error("{0}")]
    Unreachable(String),
    #[error("the response is {0}")]
    Status(StatusCode),
    #[error("the response has more than {} KiB", MAX_BYTES / 1024)]
    TooLarge,
    #[error(transparent)]
    Invalid(#[from] JwksError),
}

/// Fetches the keys of a set from now on, if the settings name one. Needs a Tokio runtime.
pub fn refresh_keys(authenticator: &Arc<Authenticator>, metrics: &Arc<Metrics>) {
    let Some(url) = authenticator.jwks_url().cloned() else { return };
    let unknown = Arc::new(Notify::new());
    authenticator.on_unknown_key({
        let unknown = unknown.clone();
        move || unknown.notify_one()
    });
    let (authenticator, metrics) = (authenticator.clone(), metrics.clone());
    tokio::spawn(KeyRefresher { url, http: client(), authenticator, metrics, unknown }.run());
}

fn client() -> Http {
    let tls = tls::client_config(tls::native_roots());
    let mut tcp = HttpConnector::new();
    tcp.set_connect_timeout(Some(TIMEOUT));
    tcp.enforce_http(false);
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
    // The next request is minutes away.
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector.wrap_connector(tcp))
}

impl KeyRefresher {
    async fn run(self) {
        let mut retry = RETRY_AFTER;
        let mut early_from = Instant::now();
        loop {
            let wait = match timeout(TIMEOUT, self.fetch()).await.unwrap_or(Err(FetchError::Timeout)) {
                Ok((keys, wait)) => {
                    retry = RETRY_AFTER;
                    self.on_fetched(keys);
                    wait
                }
                Err(error) => {
                    self.on_failed(&error);
                    if self.authenticator.has_fetched_keys() {
                        RETRY_AFTER_WITH_KEYS
                    } else {
                        let wait = retry;
                        retry = (retry * 2).min(LONGEST_RETRY);
                        wait
                    }
                }
            };
            let early = async {
                self.unknown.notified().await;
                sleep_until(early_from).await;
            };
            tokio::select! {
                () = sleep_until(Instant::now() + wait) => {}
                () = early => early_from = Instant::now() + EARLY_FETCH_INTERVAL,
            }
        }
    }

    async fn fetch(&self) -> Result<(Jwks, Duration), FetchError> {
        let request = Request::get(self.url.clone())
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(header::USER_AGENT, concat!("yamabiko/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| FetchError::Unreachable(error.to_string()))?;
        let response = self.http.request(request).await.map_err(|error| unreachable(&error))?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let wait = refresh_after(response.headers());
        Ok((Jwks::parse(&read(response).await?)?, wait))
    }

    fn on_fetched(&self, keys: Jwks) {
        let count = keys.len();
        self.metrics.tokens.jwks_keys.set(i64::try_from(count).unwrap_or(i64::MAX));
        if self.authenticator.set_fetched_keys(keys) {
            tracing::info!(host = self.url.host(), keys = count, "keys fetched from auth.jwks_url");
        }
    }

    fn on_failed(&self, error: &FetchError) {
        self.metrics.tokens.jwks_failures.get_or_create(&Reason::new(error.reason())).inc();
        let has_keys = self.authenticator.has_fetched_keys();
        tracing::warn!(
            host = self.url.host(),
            reason = error.reason(),
            detail = %error,
            "{}",
            if has_keys { "cannot fetch auth.jwks_url: the last keys stay" } else { "cannot fetch auth.jwks_url, retrying" }
        );
    }
}

impl FetchError {
    /// The label in logs and metrics.
    fn reason(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::Invalid(JwksError::Invalid) => "invalid",
            Self::Invalid(JwksError::TooManyKeys) => "too_many_keys",
            Self::Invalid(JwksError::NoKeys) => "no_keys",
        }
    }
}

async fn read(response: Response<Incoming>) -> Result<Bytes, FetchError> {
    let read = Limited::new(response.into_body(), MAX_BYTES).collect().await;
    read.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() { FetchError::TooLarge } else { unreachable(&*error) }
    })
}

/// An error with its causes: the outermost one says little.
fn unreachable(error: &(dyn Error + 'static)) -> FetchError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    FetchError::Unreachable(text)
}

/// How long the keys can be used.
fn refresh_after(headers: &HeaderMap) -> Duration {
    let directives = headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|directive| directive.trim().to_ascii_lowercase());
    let mut wait = REFRESH_AFTER;
    for directive in directives {
        if ["no-cache", "no-store"].contains(&&*directive) {
            return SHORTEST;
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            // A number that is too large is a long time, and nonsense says nothing.
            let digits = seconds.trim_matches('"');
            if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                wait = Duration::from_secs(digits.parse().unwrap_or(u64::MAX));
            }
        }
    }
    wait.clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_says_how_long_it_can_be_used_within_bounds() {
        let wait = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CACHE_CONTROL, value.parse().unwrap());
            }
            refresh_after(&headers).as_secs()
        };
        for (values, seconds) in [
            (&[][..], 600),
            (&["public"][..], 600),
            (&["public, max-age=300"][..], 300),
            (&["public", "Max-Age=\"301\", must-revalidate"][..], 301),
            (&["max-age=0"][..], 60),
            (&["max-age=1"][..], 60),
            (&["max-age=31536000"][..], 86_400),
            (&["max-age=99999999999999999999999"][..], 86_400),
            (&["max-age=-5"][..], 600),
            (&["max-age=soon"][..], 600),
            (&["max-age="][..], 600),
            (&["no-cache, max-age=600"][..], 60),
            (&["max-age=600, no-store"][..], 60),
        ] {
            assert_eq!(wait(values), seconds, "{values:?}");
        }
    }
}
