//! A client for the few requests that a node makes itself: to applications, and to the collector of traces.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::{Method, Request, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::tls;
use crate::trace_context::{TRACEPARENT, TraceContext};
use crate::webhook_target::WebhookTarget;

/// Makes requests. Cloning shares the connections.
pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection is kept for the next request.
const KEEP_IDLE: Duration = Duration::from_secs(30);

pub(crate) fn http_client() -> HttpClient {
    let roots = tls::native_roots();
    if roots.is_empty() {
        tracing::warn!("no CA certificates are installed: requests over https will fail");
    }
    let tls = tls::client_config(roots);
    let mut tcp = HttpConnector::new();
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEEP_IDLE)
        .build(connector.wrap_connector(tcp))
}

/// A POST of JSON with the headers of the target.
pub(crate) fn post(target: &WebhookTarget, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(target.url.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("yamabiko/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(body))
        .map_err(|error| error.to_string())?;
    request.headers_mut().extend(target.headers.clone());
    Ok(request)
}

pub(crate) fn header_value(text: &str) -> Result<HeaderValue, String> {
    text.parse().map_err(|_| "a value cannot be a header".to_owned())
}

/// Makes a request a part of a trace.
pub(crate) fn set_trace<B>(request: &mut Request<B>, trace: &TraceContext) {
    if let Ok(value) = trace.to_string().parse() {
        request.headers_mut().insert(TRACEPARENT, value);
    }
}
