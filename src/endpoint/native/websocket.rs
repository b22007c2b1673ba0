use std::net::IpAddr;

use axum::body::Body;
use axum::http::{Request, Response};

use super::endpoint::{Arrival, Formats, NativeEndpoint, parameter};
use super::presence_handler::PresenceHandler;
use crate::hub::WireFormat;
use crate::message::{Close, Encoding, Frame};
use crate::protocol::native::{ENCODING, WITH_GAPS, close};
use crate::telemetry::Protocol;
use crate::transport::{self, Rejection, accept, serve};

static FORMATS: Formats = Formats { plain: format(ENCODING), with_gaps: format(WITH_GAPS) };

static CLOSES: [&[&Close]; 2] = [&close::ALL, &transport::close::ALL];

const fn format(encoding: Encoding) -> WireFormat {
    WireFormat { encoding, closes: &close::CLOSES, all_closes: &CLOSES, encode_close: Frame::close }
}

/// Clients that speak WebSocket.
impl NativeEndpoint {
    /// Answers a handshake: 101, or why not.
    pub(super) fn connect(&self, request: Request<Body>) -> Response<Body> {
        let protocol = Protocol::new("native");
        self.service
            .context
            .answer_handshake(protocol, request, |request, client| self.upgrade(request, client))
    }

    fn upgrade(
        &self,
        request: &mut Request<Body>,
        client: Option<IpAddr>,
    ) -> Result<Response<Body>, Rejection> {
        let identity = self.admit(request)?;
        let (response, upgrade) = accept(request)?;
        let since = parameter(request.uri().query(), "since");
        let Arrival { handler, membership, options, expires_at } =
            self.enter(identity, since.as_deref(), client, &FORMATS);
        match membership {
            None => serve(upgrade, handler, options, expires_at),
            Some(membership) => {
                serve(upgrade, PresenceHandler::new(handler, membership), options, expires_at);
            }
        }
        Ok(response)
    }
}
