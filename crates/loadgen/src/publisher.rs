use std::sync::atomic::Ordering;
use std::sync::mpsc;

use tokio::sync::mpsc::UnboundedSender;

use super::connection::Command;
use super::run::Run;
use super::workload::ScheduledMessage;

/// A handle to one publisher of a channel.
#[derive(Debug, Clone)]
pub(super) enum Publisher {
    Connection(UnboundedSender<Command>),
    /// The thread that is connected to Redis.
    Redis(mpsc::Sender<ScheduledMessage>),
    /// A task that calls the HTTP API, and the publisher's number on the channel.
    Http(u16, UnboundedSender<(u16, ScheduledMessage)>),
}

impl Publisher {
    /// Hands the message over unless the run is over. Counts it as unsent if the publisher is gone.
    pub(super) fn send(&self, run: &Run, message: ScheduledMessage) {
        if !run.begin() {
            return;
        }
        let sent = match self {
            Self::Connection(commands) => commands.send(Command::Send(message.due)).is_ok(),
            Self::Redis(inbox) => inbox.send(message).is_ok(),
            Self::Http(publisher, calls) => calls.send((*publisher, message)).is_ok(),
        };
        if !sent {
            run.counters.unsent.fetch_add(1, Ordering::Relaxed);
            run.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_closed_publisher_count_as_unsent() {
        let run = Run::start(1, 1).unwrap();
        let (closed, _) = mpsc::channel();
        Publisher::Redis(closed).send(&run, ScheduledMessage { channel: 0, due: 0 });
        assert_eq!(run.counters.unsent.load(Ordering::Relaxed), 1);
    }
}
