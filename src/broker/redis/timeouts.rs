use std::time::Duration;

use tokio::time::timeout;

use super::connection_error::ConnectionError;

/// Limit of each step that sets up a connection: TLS handshake, authentication, subscription.
pub(super) const SETUP_STEP: Duration = Duration::from_secs(3);
/// Limit of a TCP connect. A new attempt succeeds sooner than the kernel, which retransmits a lost SYN at growing
/// intervals.
pub(super) const CONNECT: Duration = Duration::from_secs(1);
/// How long the socket is still read after a deadline. When the process was stopped, its timers fire before it has
/// looked at what arrived in the meantime.
pub(super) const READ_AFTER_DEADLINE: Duration = Duration::from_millis(20);

/// The output of a future that finishes within `limit`, plus [`READ_AFTER_DEADLINE`].
pub(super) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(future);
    match timeout(limit, &mut future).await {
        Ok(output) => Some(output),
        Err(_) => timeout(READ_AFTER_DEADLINE, future).await.ok(),
    }
}

/// [`within`] the time of a setup step, which `name` names in the error.
pub(super) async fn setup_step<T>(
    name: &'static str,
    future: impl Future<Output = T>,
) -> Result<T, ConnectionError> {
    within(SETUP_STEP, future).await.ok_or(ConnectionError::TimedOut(name))
}
