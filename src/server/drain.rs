use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::channels::Channels;
use crate::message::Close;
use crate::transport::{EndpointContext, Newcomers};

/// The pace of closing.
const STEP: Duration = Duration::from_millis(50);

/// How long a node without others waits for answers to its close frames. The kernel delivers the frames also after the
/// process has ended, and pages that were closed come back a second later: they are to find the next process.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// How long the last close frames may take to reach the kernel.
const LAST_FLUSH: Duration = Duration::from_millis(500);

/// Closes everyone.
///
/// Returns how many connections were cut because they did not finish within `grace`.
pub(super) async fn drain(edge: &Arc<EndpointContext>, channels: &Channels, grace: Duration) -> usize {
    edge.drain(Newcomers::ServedForNow);
    let others = edge.admission.open() > 0 && channels.has_other_nodes().await;
    edge.drain(if others { Newcomers::TurnedAway } else { Newcomers::Held });
    tracing::info!(connections = edge.admission.open(), ?grace, others, "shutting down: closing connections");
    if others { spread(edge, grace).await } else { at_once(edge, grace).await }
}

/// Spread over four fifths of the grace period, so that the other nodes do not get everyone at once; the last fifth is for
/// what is queued and for closing handshakes.
async fn spread(edge: &Arc<EndpointContext>, grace: Duration) -> usize {
    let start = Instant::now();
    let steps = u32::try_from((grace.mul_f64(0.8)).as_millis() / STEP.as_millis()).unwrap_or(u32::MAX);
    for left in (1..=steps.max(1)).rev() {
        if edge.admission.open() == 0 {
            return 0;
        }
        let of = usize::try_from(left).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN);
        edge.hub.close_some(of, Close::GoingAway);
        sleep(STEP.min(grace)).await;
    }
    let end = start + grace;
    while edge.admission.open() > 0 && Instant::now() < end {
        sleep_until((Instant::now() + STEP).min(end)).await;
    }
    edge.admission.open()
}

/// Nobody can take over, so that whoever is closed early only misses more: the sooner the next process is there, the
/// better. A slow reader still gets what is queued for it.
async fn at_once(edge: &Arc<EndpointContext>, grace: Duration) -> usize {
    if edge.admission.open() == 0 {
        return 0;
    }
    let start = Instant::now();
    // A handshake that was under way when newcomers began to be held is through after this.
    sleep(STEP.min(grace)).await;
    edge.hub.close_some(NonZeroUsize::MIN, Close::Restarting);
    let (enough, end) = (start + ANSWER_WITHIN, start + grace);
    while edge.admission.open() > 0 && Instant::now() < end {
        if Instant::now() >= enough && edge.hub.unflushed().await == 0 {
            return 0;
        }
        sleep_until((Instant::now() + STEP).min(end)).await;
    }
    edge.hub.unflushed().await
}

/// Closes those who were held. The last thing to do before the process ends, so that they come back as late as possible.
pub(super) async fn close_held(edge: &Arc<EndpointContext>) {
    edge.drain(Newcomers::TurnedAway);
    edge.hub.close_some(NonZeroUsize::MIN, Close::Restarting);
    let end = Instant::now() + LAST_FLUSH;
    while edge.hub.unflushed().await > 0 && Instant::now() < end {
        sleep(STEP).await;
    }
}
