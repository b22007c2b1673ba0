use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::connection::{Command, Connection};
use super::outcome::{Outcome, Role};
use super::run::Run;
use super::target::{HANDSHAKE_TIMEOUT, Source, Target};
use super::workload::Workload;

/// The kernel's receive buffer of a slow reader, in bytes. By default it grows to megabytes, so that the server could not
/// tell a slow reader from one that reads.
const SLOW_BUFFER: u32 = 64 * 1024;

/// Opens connections. The number of a connection decides its user, its channel, its server and its source address.
pub(super) struct Connector {
    pub(super) run: Arc<Run>,
    pub(super) work: Arc<Workload>,
    pub(super) targets: Vec<Arc<Target>>,
    pub(super) sources: Vec<IpAddr>,
}

/// An open connection, which runs as a task.
pub(super) struct Connected {
    pub(super) handle: UnboundedSender<Command>,
    /// From the first packet until the connection was on its channel.
    handshake: Duration,
}

impl Connected {
    /// The duration of the handshake in microseconds.
    pub(super) fn micros(&self) -> u64 {
        u64::try_from(self.handshake.as_micros()).unwrap_or(u64::MAX).max(1)
    }
}

impl Connector {
    /// Opens a connection and spawns its task, which sends its outcome to `outcomes`. The error is short, so that failures
    /// can be counted by reason.
    pub(super) async fn connect(
        &self,
        number: usize,
        role: Role,
        outcomes: UnboundedSender<Outcome>,
    ) -> Result<Connected, String> {
        let channel = self.work.channel_of(number);
        // Every channel is spread over all servers.
        let target = cycled(&self.targets, number / self.work.channels.len().max(1)).ok_or("no server")?;
        let name = self.work.channel(channel).ok_or("no channel")?;
        let protocol = &self.work.protocol;
        let endpoint = protocol.endpoint(number, name)?;
        let begun = Instant::now();
        let source = Source {
            address: cycled(&self.sources, number).copied(),
            receive_buffer: (role == Role::Slow).then_some(SLOW_BUFFER),
        };
        let open = async {
            let mut upgraded = target.open(source, &endpoint).await?;
            let session = protocol.open_session(&mut upgraded, name).await?;
            Ok::<_, String>((upgraded.stream, session))
        };
        let opened = timeout(HANDSHAKE_TIMEOUT, open).await;
        let (stream, session) =
            opened.map_err(|_| format!("no answer within {} s", HANDSHAKE_TIMEOUT.as_secs()))??;
        let handshake = begun.elapsed();
        let (handle, commands) = unbounded_channel();
        let role = role.connected(self.run.sent_on(channel));
        let commands = (handle.downgrade(), commands);
        let connection =
            Connection::new(self.run.clone(), self.work.clone(), (number, role), stream, commands);
        tokio::spawn(connection.run(session, outcomes));
        Ok(Connected { handle, handshake })
    }
}

fn cycled<T>(items: &[T], number: usize) -> Option<&T> {
    items.get(number.checked_rem(items.len())?)
}
