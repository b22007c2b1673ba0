use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout};

use crate::hub::{ConnectionId, Outbox};
use crate::message::{ChannelName, SocketId, UserId};

/// How long the connections may take. Only one that is about to end, or whose upgrade is not complete, takes longer.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// How often to look which of them have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a connection says about itself.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// `native` or `pusher`.
    pub protocol: &'static str,
    /// Its name in the cluster, if that is not the one that its number gives.
    pub name: Option<SocketId>,
    /// The ID of the app that serves it.
    pub app: Option<String>,
    pub user: Option<UserId>,
    pub user_name: Option<Arc<str>>,
    pub channels: Vec<ChannelName>,
    /// What its client has not read yet.
    pub queued_bytes: usize,
}

/// Where an answer goes.
type Asker = UnboundedSender<(ConnectionId, ConnectionInfo)>;

/// Asks connections about themselves: only the task of a connection knows everything, so that nothing need be kept for this.
#[derive(Debug, Default)]
pub struct Inquiries {
    /// How many connections are being asked: all that a task looks at as a rule.
    count: AtomicUsize,
    asked: Mutex<HashMap<ConnectionId, Vec<Asker>>>,
}

impl Inquiries {
    /// Asks these connections. Those that end meanwhile do not answer.
    pub async fn ask(
        &self,
        connections: &[(ConnectionId, Arc<Outbox>)],
    ) -> HashMap<ConnectionId, ConnectionInfo> {
        let (sender, mut answers) = unbounded_channel();
        let mut infos = HashMap::with_capacity(connections.len());
        let question = Question { inquiries: self, connections, sender: &sender };
        question.ask();
        let end = Instant::now() + ANSWER_WITHIN;
        while infos.len() < connections.len() && Instant::now() < end {
            match timeout(LOOK_AGAIN, answers.recv()).await {
                Ok(Some((id, info))) => drop(infos.insert(id, info)),
                Ok(None) => break,
                Err(_) => {
                    let is_left = |(id, outbox): &&(ConnectionId, Arc<Outbox>)| {
                        !infos.contains_key(id) && outbox.ending().is_none()
                    };
                    if !connections.iter().any(|connection| is_left(&connection)) {
                        break;
                    }
                }
            }
        }
        infos
    }

    /// Answers for a connection, if it is asked. Called by its task.
    pub fn answer(&self, id: ConnectionId, describe: impl Fn() -> ConnectionInfo) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let Some(askers) = self.asked().remove(&id) else { return };
        for asker in askers {
            // Fails if nobody waits any more.
            let _ = asker.send((id, describe()));
        }
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<ConnectionId, Vec<Asker>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that is forgotten when it is dropped.
struct Question<'a> {
    inquiries: &'a Inquiries,
    connections: &'a [(ConnectionId, Arc<Outbox>)],
    sender: &'a Asker,
}

impl Question<'_> {
    fn ask(&self) {
        {
            let mut asked = self.inquiries.asked();
            for (id, _) in self.connections {
                asked.entry(*id).or_default().push(self.sender.clone());
            }
        }
        self.inquiries.count.fetch_add(self.connections.len(), Ordering::AcqRel);
        for (_, outbox) in self.connections {
            outbox.wake();
        }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.inquiries.count.fetch_sub(self.connections.len(), Ordering::AcqRel);
        let mut asked = self.inquiries.asked();
        for (id, _) in self.connections {
            if let Some(askers) = asked.get_mut(id) {
                askers.retain(|asker| !asker.same_channel(self.sender));
                if askers.is_empty() {
                    asked.remove(id);
                }
            }
        }
        if asked.is_empty() {
            *asked = HashMap::new();
        }
    }
}
