use std::future::ready;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use axum::routing::get;

use super::endpoint::{Arrival, Formats, NativeEndpoint, parameter};
use super::message_requests::MessageRequests;
use super::presence_handler::PresenceHandler;
use crate::hub::WireFormat;
use crate::message::{Close, Encoding, Frame};
use crate::protocol::native::{SSE, SSE_WITH_GAPS, close};
use crate::telemetry::Protocol;
use crate::transport::{ConnectionHandler as _, Rejection, allow_origin, preflight, stream_events};

static FORMATS: Formats = Formats { plain: format(SSE), with_gaps: format(SSE_WITH_GAPS) };

static CLOSES: [&[&Close]; 1] = [&close::ALL];

const fn format(encoding: Encoding) -> WireFormat {
    WireFormat { encoding, closes: &close::CLOSES, all_closes: &CLOSES, encode_close: Frame::close_event }
}

/// What `EventSource` sends when it comes back.
static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// `/sse`, for clients whose network blocks WebSocket: GET receives, POST sends.
pub fn sse_routes(endpoint: Arc<NativeEndpoint>) -> Router {
    let requests = Arc::new(MessageRequests::new(endpoint.service.clone()));
    let (receiving, asking) = (endpoint.clone(), endpoint.clone());
    let receive = move |request: Request<Body>| {
        let headers = request.headers().clone();
        ready(receiving.readable(&headers, receiving.stream(request)))
    };
    let send = move |request: Request<Body>| {
        let (endpoint, requests) = (endpoint.clone(), requests.clone());
        async move {
            let headers = request.headers().clone();
            let response = requests.answer(endpoint.authorize(&request), request).await;
            endpoint.readable(&headers, response)
        }
    };
    let ask = move |headers: HeaderMap| {
        let is_admitted = asking.service.context.admits_origin(&headers);
        ready(if is_admitted { preflight(&headers) } else { Rejection::ORIGIN.response() })
    };
    // Without a route of its own, HEAD would open a connection.
    let refuse = || ready(StatusCode::METHOD_NOT_ALLOWED);
    Router::new().route("/sse", get(receive).post(send).options(ask).head(refuse))
}

/// Clients that read server-sent events.
impl NativeEndpoint {
    fn stream(&self, request: Request<Body>) -> Response<Body> {
        let protocol = Protocol::new("native");
        self.service.context.answer_connect(protocol, request, |request, client| self.open(request, client))
    }

    fn open(&self, request: &Request<Body>, client: Option<IpAddr>) -> Result<Response<Body>, Rejection> {
        let identity = self.admit(request)?;
        // The header is newer than the address.
        let last = request.headers().get(&LAST_EVENT_ID).and_then(|id| id.to_str().ok());
        let since = last.map(Into::into).or_else(|| parameter(request.uri().query(), "since"));
        let Arrival { handler, membership, options, expires_at } =
            self.enter(identity, since.as_deref(), client, &FORMATS);
        let (id, context) = (handler.id(), &self.service.context);
        let stream = context.streams.enter(id, self.service.channels.socket_id(id), handler.outbox());
        Ok(match membership {
            None => stream_events(handler, options, expires_at, stream),
            Some(membership) => {
                stream_events(PresenceHandler::new(handler, membership), options, expires_at, stream)
            }
        })
    }

    /// Lets the page read the response, if its origin may connect.
    fn readable(&self, request: &HeaderMap, mut response: Response<Body>) -> Response<Body> {
        if self.service.context.admits_origin(request) {
            allow_origin(request, &mut response);
        }
        response
    }
}
