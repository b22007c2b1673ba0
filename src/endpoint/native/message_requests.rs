use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::endpoint::parameter;
use super::renewal::renew_stream;
use super::reply::{Answer, count, count_refused};
use super::service::NativeService;
use crate::auth::Identity;
use crate::message::{ChannelName, Event, Sender, SocketId, UserId};
use crate::protocol::native::{
    Acknowledgement, MessageRef, REFUSED, RejectReason, RenewalError, RenewalRequest, acknowledgement_text,
    refused_text, renewal_text,
};
use crate::telemetry::{Metrics, Reason, TailEvent, TailKind, logged};
use crate::transport::{BodyError, Rejection, RequestBody, RequestRates};
use crate::webhooks::GateRefusal;

/// Messages in requests of their own, from clients that cannot send on their connection.
///
/// A request may reach another node than the connection of its client, so that it stands for itself: its token says who sends, and all
/// requests of a user on a channel have the rate of one connection on each node.
#[derive(Debug)]
pub(super) struct MessageRequests {
    service: Arc<NativeService>,
    rates: RequestRates<(ChannelName, UserId)>,
    start: Instant,
}

/// The response to a request that waits for its message.
#[derive(Debug)]
struct RequestAnswer {
    to: oneshot::Sender<Response<Body>>,
    message_ref: Option<MessageRef>,
    channel: ChannelName,
    user: UserId,
    metrics: Arc<Metrics>,
}

impl MessageRequests {
    pub(super) fn new(service: Arc<NativeService>) -> Self {
        Self { service, rates: RequestRates::default(), start: Instant::now() }
    }

    /// Publishes the message in a request of this user, and answers it when the broker has.
    pub(super) async fn answer(
        &self,
        identity: Result<Identity, Rejection>,
        request: Request<Body>,
    ) -> Response<Body> {
        let connection = parameter(request.uri().query(), "connection").and_then(|id| id.parse().ok());
        let mut body = RequestBody::new(request.into_body());
        let metrics = &self.service.context.metrics;
        let Identity { id, name, channel, .. } = match identity {
            Ok(identity) => identity,
            Err(rejection) => {
                metrics.messages_refused.get_or_create(&Reason::new(rejection.code)).inc();
                tracing::info!(reason = rejection.code, detail = &*rejection.message, "message refused");
                body.discard().await;
                return rejection.response();
            }
        };
        let sender = Sender { name, id };
        match self.read(&channel, &sender, &mut body).await {
            Ok(message) => self.handle(&channel, &sender, connection, message).await,
            Err((reason, wait)) => {
                tracing::info!(
                    user = logged(sender.id.form()),
                    channel = channel.as_str(),
                    reason = reason.code(),
                    "message refused"
                );
                count(Err(reason), metrics);
                tell_refused(metrics, &channel, &sender.id, || reason.code().into());
                body.discard().await;
                let mut response = acknowledged(Err(reason), None);
                if let Some(wait) = wait {
                    // In whole seconds.
                    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                    response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
                }
                response
            }
        }
    }

    /// The message, or why it is not read and how long to wait.
    async fn read(
        &self,
        channel: &ChannelName,
        sender: &Sender,
        body: &mut RequestBody,
    ) -> Result<Bytes, (RejectReason, Option<Duration>)> {
        let options = self.service.context.options();
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.rates
            .take((channel.clone(), sender.id.clone()), options.rate(), now)
            .map_err(|wait| (RejectReason::RateLimited, Some(wait)))?;
        body.read(options.message_bytes()).await.map(Bytes::from).map_err(|error| match error {
            BodyError::TooLarge(_) => (RejectReason::TooLarge, None),
            BodyError::Timeout | BodyError::Broken => (RejectReason::InvalidJson, None),
        })
    }

    /// `connection`: of the stream for which a new token is meant.
    async fn handle(
        &self,
        channel: &ChannelName,
        sender: &Sender,
        connection: Option<SocketId>,
        message: Bytes,
    ) -> Response<Body> {
        let (message_ref, event) = self.service.receive(channel, sender, &message);
        if matches!(event, Err(RejectReason::InvalidMessage))
            && let Some(request) = RenewalRequest::decode(&message)
        {
            let renewed = renew_stream(&self.service, channel, sender, connection, &request).await;
            return renewal_response(renewed);
        }
        self.publish(channel, sender, message_ref, event, message.len()).await
    }

    async fn publish(
        &self,
        channel: &ChannelName,
        sender: &Sender,
        message_ref: Option<MessageRef>,
        event: Result<Event, RejectReason>,
        bytes: usize,
    ) -> Response<Body> {
        let (to, response) = oneshot::channel();
        let answer = RequestAnswer {
            to,
            message_ref,
            channel: channel.clone(),
            user: sender.id.clone(),
            metrics: self.service.context.metrics.clone(),
        };
        match (event, self.service.gate(channel)) {
            (Err(reason), _) => answer.acknowledge(Err(reason)),
            (Ok(event), None) => self.service.publish(event, answer),
            (Ok(event), Some(gate)) => match gate.enter(bytes) {
                None => answer.acknowledge(Err(RejectReason::Unavailable)),
                Some(room) => {
                    let service = self.service.clone();
                    // A task, which goes on when the client has gone.
                    tokio::spawn(async move {
                        match gate.decide(event).await {
                            Ok(event) => service.publish(event, answer),
                            Err(GateRefusal::Refused(message)) => answer.refuse(&message),
                            Err(GateRefusal::Unavailable) => {
                                answer.acknowledge(Err(RejectReason::Unavailable));
                            }
                        }
                        drop(room);
                    });
                }
            },
        }
        // Without an answer, the node is stopping.
        response.await.unwrap_or_else(|_| acknowledged(Err(RejectReason::Unavailable), None))
    }
}

impl Answer for RequestAnswer {
    fn message_ref(&self) -> Option<&MessageRef> {
        self.message_ref.as_ref()
    }

    fn acknowledge(self, acknowledgement: Acknowledgement) {
        count(acknowledgement, &self.metrics);
        if let Err(reason) = acknowledgement {
            tell_refused(&self.metrics, &self.channel, &self.user, || reason.code().into());
        }
        // Fails if the client has gone.
        let _ = self.to.send(acknowledged(acknowledgement, self.message_ref.as_ref()));
    }

    fn refuse(self, message: &str) {
        count_refused(&self.metrics);
        tell_refused(&self.metrics, &self.channel, &self.user, || format!("{REFUSED}: {message}").into());
        let text = refused_text(message, self.message_ref.as_ref());
        let _ = self.to.send(response(StatusCode::FORBIDDEN, text));
    }
}

/// Tells operators who watch.
fn tell_refused(
    metrics: &Metrics,
    channel: &ChannelName,
    user: &UserId,
    reason: impl FnOnce() -> Cow<'static, str>,
) {
    metrics.tail.tell(|| TailEvent {
        kind: TailKind::Refused,
        protocol: "native",
        user: Some(user.to_text().into()),
        channel: Some(channel.as_str().into()),
        reason: Some(reason()),
        ..TailEvent::default()
    });
}

fn acknowledged(acknowledgement: Acknowledgement, message_ref: Option<&MessageRef>) -> Response<Body> {
    let status = acknowledgement.map_or_else(status, |()| StatusCode::OK);
    response(status, acknowledgement_text(acknowledgement, message_ref))
}

/// The stream itself answers a token that has been passed on to it.
fn renewal_response(renewed: Result<(), RenewalError>) -> Response<Body> {
    let status = match renewed {
        Ok(()) => return response(StatusCode::ACCEPTED, Vec::new()),
        Err(RenewalError::Token(_)) => StatusCode::UNAUTHORIZED,
        Err(RenewalError::OtherIdentity) => StatusCode::FORBIDDEN,
        Err(RenewalError::UnknownConnection) => StatusCode::NOT_FOUND,
        Err(RenewalError::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
    };
    response(status, renewal_text(renewed).into())
}

fn response(status: StatusCode, text: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn status(reason: RejectReason) -> StatusCode {
    match reason {
        RejectReason::InvalidJson
        | RejectReason::InvalidMessage
        | RejectReason::InvalidTarget
        | RejectReason::InvalidRef
        | RejectReason::TooDeep => StatusCode::BAD_REQUEST,
        RejectReason::NotAllowed => StatusCode::FORBIDDEN,
        RejectReason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        RejectReason::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        RejectReason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        RejectReason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
