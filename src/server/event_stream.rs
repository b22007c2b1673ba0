use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::broker::EventStream;
use crate::telemetry::Metrics;
use crate::webhooks::StreamQueue;

/// Maximum events that are added at a time.
const MAX_BATCH: usize = 500;

/// Maximum bytes that are added at a time, or one event that is larger.
const MAX_BATCH_BYTES: usize = 1 << 20;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Adds the events of the queue to the stream, until it is dropped. What Redis may have refused is added again: an event may be in the
/// stream twice, but is not missing.
pub(super) async fn fill_event_stream(
    queue: Arc<StreamQueue>,
    mut stream: EventStream,
    metrics: Arc<Metrics>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let events = queue.events().first(MAX_BATCH, MAX_BATCH_BYTES).await;
        match stream.append(&events, queue.max_entries()).await {
            Ok(()) => {
                queue.events().remove(events.len());
                metrics.event_stream_entries.inc_by(events.len() as u64);
                pause = FIRST_PAUSE;
            }
            Err(error) => {
                tracing::warn!(
                    %error,
                    hint = "an ACL must grant +xadd and ~<redis.prefix>yamabiko:*",
                    "cannot add events to the event stream, retrying"
                );
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}
