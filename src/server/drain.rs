use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::channels::Channels;
use crate::hub::Hub;
use crate::message::CloseReason;
use crate::transport::{EndpointContext, NewConnections};

/// Closes the connections when the server shuts down.
#[derive(Debug)]
pub(super) struct Drain {
    pub(super) context: Arc<EndpointContext>,
    pub(super) hub: Arc<Hub>,
}

/// The interval between two batches of closes, and between two looks at what is left.
const STEP: Duration = Duration::from_millis(50);

/// How long a node without others waits for the clients' close frames. Not long: the kernel delivers ours also after the process
/// has ended, and closed pages reconnect a second later, when the next process should be there.
const CLOSE_REPLY_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the last close frames may take to reach the kernel.
const LAST_FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

impl Drain {
    /// Closes all connections. Returns how many were cut because they did not finish within `grace`.
    pub(super) async fn run(&self, channels: &Channels, grace: Duration) -> usize {
        self.context.set_new_connections(NewConnections::ServeWhileDraining);
        let others = self.open() > 0 && channels.has_other_nodes().await;
        self.context.set_new_connections(if others { NewConnections::Reject } else { NewConnections::Hold });
        tracing::info!(connections = self.open(), ?grace, others, "shutting down: closing connections");
        if others { self.close_gradually(grace).await } else { self.close_at_once(grace).await }
    }

    /// Closes the connections that were held. The last thing to do before the process ends, so that their clients reconnect as late
    /// as possible.
    pub(super) async fn close_held(&self) {
        self.context.set_new_connections(NewConnections::Reject);
        self.hub.close_some(NonZeroUsize::MIN, CloseReason::Restarting);
        let end = Instant::now() + LAST_FLUSH_TIMEOUT;
        while self.hub.unflushed().await > 0 && Instant::now() < end {
            sleep(STEP).await;
        }
    }

    /// Spreads the closes over four fifths of the grace period, so that the other nodes do not get all clients at once. The last
    /// fifth is for queued messages and closing handshakes.
    async fn close_gradually(&self, grace: Duration) -> usize {
        let start = Instant::now();
        let steps = u32::try_from((grace.mul_f64(0.8)).as_millis() / STEP.as_millis()).unwrap_or(u32::MAX);
        for left in (1..=steps.max(1)).rev() {
            if self.open() == 0 {
                return 0;
            }
            let of = usize::try_from(left).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN);
            self.hub.close_some(of, CloseReason::GoingAway);
            sleep(STEP.min(grace)).await;
        }
        let end = start + grace;
        while self.open() > 0 && Instant::now() < end {
            sleep_until((Instant::now() + STEP).min(end)).await;
        }
        self.open()
    }

    /// Closes all at once: no other node can take over, so that an early close only means more missed messages. A slow reader
    /// still gets what is queued for it.
    async fn close_at_once(&self, grace: Duration) -> usize {
        if self.open() == 0 {
            return 0;
        }
        let start = Instant::now();
        // Handshakes that began before new connections were held are through after this.
        sleep(STEP.min(grace)).await;
        self.hub.close_some(NonZeroUsize::MIN, CloseReason::Restarting);
        let (enough, end) = (start + CLOSE_REPLY_TIMEOUT, start + grace);
        while self.open() > 0 && Instant::now() < end {
            if Instant::now() >= enough && self.hub.unflushed().await == 0 {
                return 0;
            }
            sleep_until((Instant::now() + STEP).min(end)).await;
        }
        self.hub.unflushed().await
    }

    fn open(&self) -> usize {
        self.context.admission.open()
    }
}
