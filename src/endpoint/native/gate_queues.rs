use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::reply::Reply;
use super::service::NativeService;
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
    _room: WaitingRoom,
}

impl GateQueues {
    /// Queues a message of this many bytes.
    pub(super) fn push(
        service: &Arc<NativeService>,
        connection: ConnectionId,
        gate: &Arc<Gate>,
        event: Result<Event, RejectReason>,
        bytes: usize,
        reply: Reply,
    ) {
        let event = event.and_then(|event| {
            let room = gate.enter(bytes).ok_or(RejectReason::Unavailable)?;
            Ok(Gated { event, gate: gate.clone(), _room: room })
        });
        let mut queues = service.gate_queues.lock();
        match (queues.get_mut(&connection), event) {
            (Some(queue), event) => queue.push_back(Waiting { event, reply }),
            (None, Err(reason)) => {
                drop(queues);
                reply.acknowledge(Err(reason));
            }
            (None, event) => {
                queues.insert(connection, VecDeque::from([Waiting { event, reply }]));
                tokio::spawn(Self::run(service.clone(), connection));
            }
        }
    }

    /// Goes on after the client has left: what it has sent is published, as on channels without a gate.
    async fn run(service: Arc<NativeService>, connection: ConnectionId) {
        while let Some(Waiting { event, reply }) = service.gate_queues.next(connection) {
            match event {
                Err(reason) => reply.acknowledge(Err(reason)),
                Ok(Gated { event, gate, _room }) => match gate.decide(event).await {
                    Ok(event) => service.publish(event, reply),
                    Err(GateRefusal::Refused(message)) => reply.refuse(&message),
                    Err(GateRefusal::Unavailable) => reply.acknowledge(Err(RejectReason::Unavailable)),
                },
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
