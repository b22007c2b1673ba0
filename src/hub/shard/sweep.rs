use std::time::Duration;

use tokio::sync::mpsc::WeakUnboundedSender;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::{Command, Shard};

/// How often alarms are checked: they are set in whole seconds.
const INTERVAL: Duration = Duration::from_secs(1);

/// Makes a shard sweep until it ends. A task of its own, so that the shard need not look at a timer after each message.
pub(in crate::hub) async fn sweep_regularly(shard: WeakUnboundedSender<Command>) {
    loop {
        sleep(INTERVAL).await;
        let Some(commands) = shard.upgrade() else { return };
        let (done, is_done) = oneshot::channel();
        // A shard ends only when all senders are gone, or with the runtime.
        let _ = commands.send(Command::Sweep(done));
        drop(commands);
        // A shard that is behind gets no second one meanwhile.
        let _ = is_done.await;
    }
}

impl Shard {
    /// Wakes the tasks of the connections whose alarm is due, and proves what clients have read.
    pub(super) fn sweep(&mut self) {
        let now = self.clock.now();
        for connection in self.connections.values() {
            connection.outbox.sweep(now);
        }
        self.proving.sweep();
    }
}
