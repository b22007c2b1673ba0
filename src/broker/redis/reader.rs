use std::pin::Pin;
use std::time::Duration;

use redis::{ServerErrorKind, Value, cmd};
use tokio::time::{Instant, sleep_until};

use super::connection::RedisConnection;
use super::connection_error::{ConnectionError, error_message};
use super::health::{ConnectionRole, Health};
use super::inbound_stream::InboundStream;
use super::keepalive::{Keepalive, KeepaliveAction, TICK};
use super::push::Push;
use super::reconcile::Reconciler;
use super::timeouts::{READ_AFTER_DEADLINE, SETUP_STEP, within};
use super::topic_names::TopicNames;
use super::url::RedisUrl;

/// How long an unresponsive connection is still read once its standby is ready.
const STANDBY_GRACE: Duration = Duration::from_millis(100);
/// A timer that fires this late was delayed because the whole process was stopped.
const PROCESS_STOPPED: Duration = Duration::from_millis(100);

/// Why a subscribed connection is no longer used.
pub(super) struct Disconnected {
    pub(super) error: ConnectionError,
    /// The connection that takes over at once.
    pub(super) replacement: Option<RedisConnection>,
}

impl From<ConnectionError> for Disconnected {
    fn from(error: ConnectionError) -> Self {
        Self { error, replacement: None }
    }
}

/// Opens and subscribes a connection.
pub(super) type Opening<'o> =
    Pin<Box<dyn Future<Output = Result<RedisConnection, ConnectionError>> + Send + 'o>>;

/// Opens a connection and subscribes the channels of events and signals.
pub(super) async fn open(url: &RedisUrl, names: &TopicNames) -> Result<RedisConnection, ConnectionError> {
    let mut connection = RedisConnection::open(url).await?;
    connection.write(cmd("SUBSCRIBE").arg(&names.events[..]).arg(&names.signals[..]));
    flush(&mut connection, "SUBSCRIBE", SETUP_STEP).await?;
    // Redis executes the command as a whole, so that no message comes between its two replies.
    for _ in 0..2 {
        let reply = connection.reply_to("SUBSCRIBE").await?;
        let reply = reply
            .map_err(|error| ConnectionError::Denied("SUBSCRIBE", error_message(&error), names.describe()))?;
        let Value::Array(values) = reply else { return Err(ConnectionError::Unexpected("SUBSCRIBE")) };
        if !matches!(Push::parse(values), Push::SubscriptionReply) {
            return Err(ConnectionError::Unexpected("SUBSCRIBE"));
        }
    }
    Ok(connection)
}

/// Delivers messages and follows the desired topics until the connection fails, or until it is unresponsive while a
/// standby, which `open` opens, gets through. Sets `health` up once all topics desired at the start are subscribed.
pub(super) async fn run<'o>(
    connection: &mut RedisConnection,
    stream: &mut InboundStream,
    health: &Health,
    timeout: Duration,
    open: impl Fn() -> Opening<'o>,
) -> Disconnected {
    stream.on_connected();
    let disconnected = read_until_disconnected(connection, stream, health, timeout, open).await;
    stream.topics.disconnect();
    disconnected
}

async fn read_until_disconnected<'o>(
    connection: &mut RedisConnection,
    stream: &InboundStream,
    health: &Health,
    timeout: Duration,
    open: impl Fn() -> Opening<'o>,
) -> Disconnected {
    let topics = &*stream.topics;
    let mut reconciler = Reconciler::start(topics);
    let mut keepalive = Keepalive::new(timeout);
    let mut standby = Standby::None;
    // Not reset for each reply: when it fires, the keepalive knows whether something was read.
    let timer = sleep_until(Instant::now() + TICK);
    tokio::pin!(timer);
    loop {
        if reconciler.becomes_ready() {
            health.set_up(ConnectionRole::Subscriber);
            stream.on_ready();
        }
        if reconciler.write(connection, &stream.names)
            && let Err(error) = flush(connection, "SUBSCRIBE", timeout).await
        {
            return error.into();
        }
        tokio::select! {
            biased;
            // Before the replies, which a busy Redis sends without a pause.
            () = topics.changed.notified(), if reconciler.is_idle() => {
                stream.on_subscribed(reconciler.take_changes(topics));
            }
            () = stream.fences.added.notified() => {
                if let Some(number) = stream.fences.next() {
                    connection.write(&cmd("PING"));
                    reconciler.on_ping_sent(Some(number));
                    if let Err(error) = flush(connection, "PING", timeout).await {
                        return error.into();
                    }
                }
            }
            reply = connection.read() => {
                let handled = match reply {
                    Ok(reply) => {
                        handle_reply(reply, connection.read_at(), stream, &mut reconciler).await
                    }
                    Err(error) => Err(error),
                };
                match handled {
                    // Time spent waiting for the queue budget says nothing about Redis.
                    Ok(true) => timer.as_mut().reset(Instant::now() + TICK),
                    Ok(false) => {}
                    Err(error) => return error.into(),
                }
                if keepalive.on_read() {
                    standby = Standby::None;
                    health.set_responsive(ConnectionRole::Subscriber);
                    if reconciler.is_ready() {
                        health.set_up(ConnectionRole::Subscriber);
                    }
                }
            }
            opened = standby.opened() => match opened {
                Ok(replacement) => {
                    standby = Standby::Ready(replacement);
                    timer.as_mut().reset(Instant::now() + STANDBY_GRACE);
                }
                // The next tick tries again.
                Err(_) => standby = Standby::None,
            },
            () = &mut timer => {
                let now = Instant::now();
                if now.duration_since(timer.deadline()) > PROCESS_STOPPED {
                    // Read what has arrived in the meantime before judging the connection.
                    timer.as_mut().reset(now + READ_AFTER_DEADLINE);
                    continue;
                }
                timer.as_mut().reset(now + TICK);
                if let Standby::Ready(replacement) = standby {
                    let error = ConnectionError::TimedOut("PING");
                    return Disconnected { error, replacement: Some(replacement) };
                }
                match keepalive.tick(now) {
                    KeepaliveAction::None => {}
                    KeepaliveAction::SendPing => {
                        connection.write(&cmd("PING"));
                        reconciler.on_ping_sent(None);
                        if let Err(error) = flush(connection, "PING", timeout).await {
                            return error.into();
                        }
                    }
                    KeepaliveAction::ReportUnresponsive => {
                        health.set_unresponsive(ConnectionRole::Subscriber, "PING");
                    }
                    KeepaliveAction::ReportLost => {
                        let error = ConnectionError::TimedOut("PING");
                        health.set_down(ConnectionRole::Subscriber, &error.to_string());
                    }
                }
                if keepalive.is_unresponsive() && matches!(standby, Standby::None) {
                    standby = Standby::Opening(open());
                }
            }
        }
    }
}

/// A second connection, opened while the first one is unresponsive. The first one is kept until this one is subscribed,
/// and for [`STANDBY_GRACE`] longer: if Redis was only paused, the first one's messages arrive and none is missed.
enum Standby<'o> {
    None,
    Opening(Opening<'o>),
    Ready(RedisConnection),
}

impl Standby<'_> {
    /// Resolves once when the connection has been opened, and never otherwise.
    async fn opened(&mut self) -> Result<RedisConnection, ConnectionError> {
        match self {
            Self::Opening(opening) => opening.await,
            Self::None | Self::Ready(_) => std::future::pending().await,
        }
    }
}

/// Returns whether a message had to wait for the queue budget.
async fn handle_reply(
    reply: Value,
    arrived: std::time::Instant,
    stream: &InboundStream,
    reconciler: &mut Reconciler,
) -> Result<bool, ConnectionError> {
    match reply {
        Value::Array(values) => match Push::parse(values) {
            // These topics are subscribed by name as well.
            Push::Message { channel, by_pattern: true, .. } if stream.names.is_reserved(&channel) => {}
            Push::Message { channel, payload, .. } => {
                return Ok(stream.on_message(&channel, payload, arrived).await);
            }
            Push::SubscriptionReply => stream.on_subscribed(reconciler.on_reply(&stream.topics)),
            Push::Pong => {
                stream.on_fence(reconciler.next_fence());
                reconciler.on_pong();
            }
            Push::Other => {}
        },
        // The ACL denies a topic of the application, or Redis refuses PING. The other topics work.
        Value::ServerError(error)
            if reconciler.next_is_optional() || error.kind() == Some(ServerErrorKind::NoPerm) =>
        {
            stream.on_fence(reconciler.next_fence());
            stream.on_subscribed(reconciler.on_denied(&stream.topics, &error));
        }
        Value::ServerError(error) => return Err(ConnectionError::refused("the subscription", &error)),
        _ => return Err(ConnectionError::Unexpected("SUBSCRIBE")),
    }
    Ok(false)
}

async fn flush(
    connection: &mut RedisConnection,
    command: &'static str,
    timeout: Duration,
) -> Result<(), ConnectionError> {
    within(timeout, connection.flush()).await.unwrap_or(Err(ConnectionError::TimedOut(command)))
}
