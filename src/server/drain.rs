use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::message::Close;
use crate::socket::Edge;

/// The pace of closing.
const STEP: Duration = Duration::from_millis(50);

/// Closes everyone, spread over four fifths of the grace period so that they do not all
/// come back at once; the last fifth is for what is queued and for closing handshakes.
///
/// Returns how many connections were cut because they did not finish in time.
pub(super) async fn drain(edge: &Arc<Edge>, grace: Duration) -> usize {
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
