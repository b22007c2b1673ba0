//! Opens connections, each by its number: that decides on its user, its channel, its server and its address.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::connection::{Command, Connection};
use super::outcome::{Outcome, Part};
use super::tally::Run;
use super::target::{Origin, PATIENCE, Target};
use super::workload::Workload;

/// Bytes that the kernel keeps for one that does not read. By itself it may take megabytes, which no server could tell
/// from a client that reads.
const SLOW_BUFFER: u32 = 64 * 1024;

/// Where connections go, and as whom.
pub(super) struct Door {
    pub(super) run: Arc<Run>,
    pub(super) work: Arc<Workload>,
    pub(super) targets: Vec<Arc<Target>>,
    pub(super) sources: Vec<IpAddr>,
}

/// An open connection at work.
pub(super) struct Entered {
    /// What it is told goes here.
    pub(super) handle: UnboundedSender<Command>,
    /// From the first packet until it was on its channel.
    took: Duration,
}

impl Entered {
    /// How long the handshake took, in microseconds.
    pub(super) fn micros(&self) -> u64 {
        u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX).max(1)
    }
}

impl Door {
    /// Opens a connection and sets it to work, or says in a few words why that failed. What it has seen in the end goes
    /// to `outcomes`.
    pub(super) async fn open(
        &self,
        number: usize,
        part: Part,
        outcomes: UnboundedSender<Outcome>,
    ) -> Result<Entered, String> {
        let channel = self.work.channel_of(number);
        // Each channel is spread over all addresses.
        let target = cycled(&self.targets, number / self.work.channels.len().max(1)).ok_or("no server")?;
        let name = self.work.channel(channel).ok_or("no channel")?;
        let speech = &self.work.speech;
        let address = speech.address(number, name)?;
        let begun = Instant::now();
        let from = Origin {
            address: cycled(&self.sources, number).copied(),
            receive_buffer: (part == Part::Slow).then_some(SLOW_BUFFER),
        };
        let enter = async {
            let mut opened = target.open(from, &address).await?;
            let greeted = speech.greet(&mut opened, name).await?;
            Ok::<_, String>((opened.wire, greeted))
        };
        let entered = timeout(PATIENCE, enter).await;
        let (wire, greeted) = entered.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))??;
        let took = begun.elapsed();
        let (handle, commands) = unbounded_channel();
        let part = part.entered(self.run.sent_on(channel));
        let commands = (handle.downgrade(), commands);
        let connection = Connection::new(self.run.clone(), self.work.clone(), (number, part), wire, commands);
        tokio::spawn(connection.run(greeted, outcomes));
        Ok(Entered { handle, took })
    }
}

fn cycled<T>(items: &[T], number: usize) -> Option<&T> {
    items.get(number.checked_rem(items.len())?)
}
