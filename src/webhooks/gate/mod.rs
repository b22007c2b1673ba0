//! Asks the application about each message of a client before it is published, for the kinds of channels that want it.

mod answer;
mod circuit_breaker;
mod failure;
mod gates;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::{StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use self::answer::Answer;
use self::circuit_breaker::CircuitBreaker;
use self::failure::GateFailure;
use super::request_signer::RequestSigner;
use crate::http_client::{HttpClient, post, set_trace};
use crate::message::json::quoted;
use crate::message::{Event, portable_json};
use crate::protocol::native::{GateSettings, Native, OnFailure};
use crate::telemetry::{Histogram, KindLabel, Metrics, Reason, Span, SpanKind};
use crate::trace_context::TraceContext;
use crate::unix_time::unix_time;
use crate::webhook_target::WebhookTarget;

pub use gates::Gates;

/// Maximum bytes of the messages that wait at one gate.
const WAITING_BYTES: usize = 16 << 20;

/// What each message counts besides its own bytes.
const OVERHEAD: usize = 512;

/// The part of an answer besides `data`, in bytes.
const ANSWER_OVERHEAD: usize = 4096;

/// What the sender is told without a text of the application.
const REFUSED: &str = "the application refused the message";

/// The gate of one kind of channel.
pub struct Gate {
    kind: String,
    settings: GateSettings,
    target: WebhookTarget,
    in_flight: Semaphore,
    waiting: Arc<Semaphore>,
    breaker: Mutex<CircuitBreaker>,
    http: HttpClient,
    signer: RequestSigner,
    message_bytes: usize,
    native: Arc<Native>,
    metrics: Arc<Metrics>,
    /// Of requests to the application.
    duration: Histogram,
}

/// Room for a message that waits at the gate.
#[derive(Debug)]
pub struct WaitingRoom {
    _permit: OwnedSemaphorePermit,
}

/// Why a message is not published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateRefusal {
    /// The application does not want it. With the text for the sender.
    Refused(String),
    /// The application was not asked, or did not decide.
    Unavailable,
}

impl Gate {
    /// Returns `None` if the URL is invalid. Loading the settings has checked it.
    fn new(
        kind: &str,
        settings: &GateSettings,
        http: HttpClient,
        signer: RequestSigner,
        message_bytes: usize,
        native: Arc<Native>,
        metrics: Arc<Metrics>,
    ) -> Option<Self> {
        Some(Self {
            kind: kind.to_owned(),
            target: settings.target().ok()?,
            settings: settings.clone(),
            in_flight: Semaphore::new(settings.max_in_flight.min(Semaphore::MAX_PERMITS)),
            waiting: Arc::new(Semaphore::new(WAITING_BYTES)),
            breaker: Mutex::default(),
            http,
            signer,
            message_bytes,
            native,
            duration: metrics.latency.gate.get_or_create_owned(&KindLabel::new(kind)),
            metrics,
        })
    }

    /// Room for a message of this many bytes, until it is dropped. `None`: too many wait already.
    pub fn enter(&self, bytes: usize) -> Option<WaitingRoom> {
        let cost = u32::try_from(bytes.saturating_add(OVERHEAD).min(WAITING_BYTES)).unwrap_or(u32::MAX);
        let permit = self.waiting.clone().try_acquire_many_owned(cost).ok();
        if permit.is_none() {
            self.on_overload();
        }
        Some(WaitingRoom { _permit: permit? })
    }

    /// Asks the application about a message. Returns what is to be published: the message itself, or what the application has made of
    /// it.
    pub async fn decide(&self, mut event: Event) -> Result<Event, GateRefusal> {
        // A message that does not find a place is refused at once: its sender may send it again, and those of others do not wait.
        let Ok(_place) = self.in_flight.try_acquire() else {
            self.on_overload();
            return Err(GateRefusal::Unavailable);
        };
        if !self.breaker().try_pass(Instant::now()) {
            return self.fail(event, GateFailure::CircuitOpen);
        }
        let tracer = self.metrics.tracer();
        let mut span = tracer.root(SpanKind::Client, "gate");
        if tracer.is_on() {
            // What follows from the decision belongs to the same trace, or to none.
            let trace = span.as_ref().map_or_else(TraceContext::unsampled, Span::context);
            event.trace = Some(Box::new(trace));
        }
        let began = Instant::now();
        let answer = match timeout(self.settings.timeout, self.ask(&event)).await {
            Ok(answer) => answer,
            Err(_) => Err(GateFailure::Timeout),
        };
        self.duration.observe(began.elapsed().as_secs_f64());
        let decided = answer.and_then(|body| self.apply(&event, &body));
        if let Some(span) = &mut span {
            span.set("yamabiko.kind", &*self.kind);
            span.set("server.address", self.host().unwrap_or_default());
            match &decided {
                Ok(Decision::Publish(_)) => span.set("yamabiko.decision", "publish"),
                Ok(Decision::Refuse(_)) => span.set("yamabiko.decision", "refuse"),
                Err(failure) => span.fail(failure.label()),
            }
        }
        match &decided {
            Ok(_) if self.breaker().on_success() => {
                tracing::info!(kind = self.kind, host = self.host(), "the gate answers again");
            }
            Err(_) if self.breaker().on_failure(Instant::now()) => {
                tracing::warn!(
                    kind = self.kind,
                    host = self.host(),
                    pause = ?circuit_breaker::OPEN_FOR,
                    "the gate failed several times in a row: requests are paused"
                );
            }
            _ => {}
        }
        match decided {
            Ok(Decision::Publish(event)) => Ok(event),
            Ok(Decision::Refuse(message)) => Err(GateRefusal::Refused(message)),
            Err(failure) => self.fail(event, failure),
        }
    }

    async fn ask(&self, event: &Event) -> Result<Bytes, GateFailure> {
        let body = encode(event);
        let mut request = post(&self.target, body.clone()).map_err(|_| GateFailure::Unreachable)?;
        request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
        self.signer.sign(&mut request, &body, unix_time().as_secs());
        if let Some(trace) = event.trace.as_deref().filter(|trace| trace.is_sampled) {
            set_trace(&mut request, trace);
        }
        let response = self.http.request(request).await.map_err(|_| GateFailure::Unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(GateFailure::Status(response.status().as_u16()));
        }
        let limit = self.message_bytes.saturating_add(ANSWER_OVERHEAD);
        let answer = Limited::new(response.into_body(), limit).collect().await;
        let answer = answer.map_err(|error| {
            if error.is::<LengthLimitError>() { GateFailure::TooLarge } else { GateFailure::Unreachable }
        })?;
        Ok(answer.to_bytes())
    }

    fn apply(&self, event: &Event, body: &Bytes) -> Result<Decision, GateFailure> {
        let (decision, label) = match Answer::parse(body).map_err(|_| GateFailure::InvalidAnswer)? {
            Answer::Allow => (Decision::Publish(event.clone()), "allow"),
            Answer::Refuse(message) => {
                (Decision::Refuse(message.unwrap_or_else(|| REFUSED.to_owned())), "refuse")
            }
            Answer::Rewrite(data) if data.len() <= self.message_bytes => {
                let event = Event { data: body.slice_ref(data.as_bytes()), ..event.clone() };
                self.native.check(&event).map_err(|_| GateFailure::InvalidData)?;
                (Decision::Publish(event), "rewrite")
            }
            Answer::Rewrite(_) => return Err(GateFailure::InvalidData),
        };
        self.metrics.gate_decisions.get_or_create(&Reason::new(label)).inc();
        Ok(decision)
    }

    fn fail(&self, event: Event, failure: GateFailure) -> Result<Event, GateRefusal> {
        self.metrics.gate_failures.get_or_create(&Reason::new(failure.label())).inc();
        let publishes = self.settings.on_failure == OnFailure::Allow;
        tracing::warn!(
            kind = self.kind,
            host = self.host(),
            reason = failure.label(),
            published = publishes,
            failure = %failure,
            "gate failed"
        );
        if publishes { Ok(event) } else { Err(GateRefusal::Unavailable) }
    }

    fn on_overload(&self) {
        self.metrics.gate_failures.get_or_create(&Reason::new("overloaded")).inc();
        tracing::warn!(
            kind = self.kind,
            host = self.host(),
            reason = "overloaded",
            published = false,
            "gate overloaded: message refused"
        );
    }

    /// The path of a URL is often a secret.
    fn host(&self) -> Option<&str> {
        self.target.url.host()
    }

    fn breaker(&self) -> MutexGuard<'_, CircuitBreaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// The URL can contain a secret.
impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("kind", &self.kind).finish_non_exhaustive()
    }
}

enum Decision {
    Publish(Event),
    Refuse(String),
}

fn encode(event: &Event) -> Bytes {
    let (channel, name) = (quoted(event.channel.as_str()), quoted(&event.sender.name));
    let start = event
        .sender
        .id
        .with_json(|id| format!(r#"{{"channel":{channel},"sender":{{"name":{name},"id":{id}}},"data":"#));
    [start.as_bytes(), &portable_json(&event.data), b"}"].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ChannelName, Sender};

    #[test]
    fn golden_request() {
        let sender = Sender { name: "A\"oi".into(), id: 7.into() };
        let data = Bytes::from_static(br#"{"message": 1.0}"#);
        let event = Event::new(ChannelName::new("chat:山").unwrap(), sender, data);
        assert_eq!(
            encode(&event),
            r#"{"channel":"chat:山","sender":{"name":"A\"oi","id":7},"data":{"message": 1.0}}"#
        );
    }
}
