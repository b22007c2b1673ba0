use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::reply::{Answer as _, Reply};
use crate::hub::ConnectionId;
use crate::message::Event;
use crate::protocol::native::RejectReason;
use crate::webhooks::{Gate, GateRefusal, WaitingRoom};

/// The messages of clients that wait for the application's decision, in the order of each client. A connection has an entry only
/// while it has such messages: a task asks about them, one after another.
#[derive(Debug, Default)]
pub struct GateQueues(Mutex<HashMap<ConnectionId, VecDeque<Waiting>>>);

#[derive(Debug)]
struct Waiting {
    /// What cannot be published waits for its answer in the same order.
    event: Result<Gated, RejectReason>,
    reply: Reply,
}

#[derive(Debug)]
struct Gated {
    event: Event,
    gate: Arc<Gate>,
    room: WaitingRoom,
}

impl GateQueues {
    /// Queues a message of this many bytes. `publish` publishes what the application allows.
    pub(super) fn push(
        self: &Arc<Self>,
        connection: ConnectionId,
        gate: &Arc<Gate>,
        event: Result<Event, RejectReason>,
        bytes: usize,
        reply: Reply,
        publish: impl Fn(Event, Reply) + Send + Sync + 'static,
    ) {
        let event = event.and_then(|event| {
            let room = gate.enter(bytes).ok_or(RejectReason::Unavailable)?;
            Ok(Gated { event, gate: gate.clone(), room })
        });
        let mut queues = self.lock();
        match (queues.get_mut(&connection), event) {
            (Some(queue), event) => queue.push_back(Waiting { event, reply }),
            (None, Err(reason)) => {
                drop(queues);
                reply.acknowledge(Err(reason));
            }
            (None, event) => {
                queues.insert(connection, VecDeque::from([Waiting { event, reply }]));
                tokio::spawn(self.clone().run(connection, publish));
            }
        }
    }

    /// Goes on after the client has left: what it has sent is published, as on channels without a gate.
    async fn run(self: Arc<Self>, connection: ConnectionId, publish: impl Fn(Event, Reply) + Send + Sync) {
        while let Some(Waiting { event, reply }) = self.next(connection) {
            match event {
                Err(reason) => reply.acknowledge(Err(reason)),
                Ok(Gated { event, gate, room }) => {
                    match gate.decide(event).await {
                        Ok(event) => publish(event, reply),
                        Err(GateRefusal::Refused(message)) => reply.refuse(&message),
                        Err(GateRefusal::Unavailable) => reply.acknowledge(Err(RejectReason::Unavailable)),
                    }
                    drop(room);
                }
            }
        }
    }

    fn next(&self, connection: ConnectionId) -> Option<Waiting> {
        let mut queues = self.lock();
        let next = queues.get_mut(&connection)?.pop_front();
        if next.is_none() {
            queues.remove(&connection);
            if queues.is_empty() {
                *queues = HashMap::new();
            }
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionId, VecDeque<Waiting>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
