use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::reply::Reply;
use super::service::NativeService;
use crate::message::Event;
use crate::protocol::native::RejectReason;
use crate::webhooks::{Gate, GateRefusal, WaitingRoom};

/// The messages of one client that wait for the application's decision, in their order.
#[derive(Debug)]
pub(super) struct GateQueue {
    service: Arc<NativeService>,
    gate: Arc<Gate>,
    state: Mutex<GateQueueState>,
}

#[derive(Debug, Default)]
struct GateQueueState {
    waiting: VecDeque<Waiting>,
    /// A task asks about the messages, one after another.
    is_running: bool,
}

#[derive(Debug)]
struct Waiting {
    /// What cannot be published waits for its answer in the same order.
    event: Result<(Event, WaitingRoom), RejectReason>,
    reply: Reply,
}

impl GateQueue {
    pub(super) fn new(service: Arc<NativeService>, gate: Arc<Gate>) -> Arc<Self> {
        Arc::new(Self { service, gate, state: Mutex::default() })
    }

    /// Queues a message of this many bytes.
    pub(super) fn push(self: &Arc<Self>, event: Result<Event, RejectReason>, bytes: usize, reply: Reply) {
        let event = event.and_then(|event| {
            self.gate.enter(bytes).map(|room| (event, room)).ok_or(RejectReason::Unavailable)
        });
        let mut state = self.state();
        match event {
            Err(reason) if !state.is_running => {
                drop(state);
                reply.acknowledge(Err(reason));
            }
            event => {
                state.waiting.push_back(Waiting { event, reply });
                if !std::mem::replace(&mut state.is_running, true) {
                    tokio::spawn(self.clone().run());
                }
            }
        }
    }

    /// Goes on after the client has left: what it has sent is published, as on channels without a gate.
    async fn run(self: Arc<Self>) {
        while let Some(Waiting { event, reply }) = self.next() {
            match event {
                Err(reason) => reply.acknowledge(Err(reason)),
                Ok((event, _room)) => match self.gate.decide(event).await {
                    Ok(event) => self.service.publish(event, reply),
                    Err(GateRefusal::Refused(message)) => reply.refuse(&message),
                    Err(GateRefusal::Unavailable) => reply.acknowledge(Err(RejectReason::Unavailable)),
                },
            }
        }
    }

    fn next(&self) -> Option<Waiting> {
        let mut state = self.state();
        let next = state.waiting.pop_front();
        if next.is_none() {
            // An idle connection keeps no buffer.
            *state = GateQueueState::default();
        }
        next
    }

    fn state(&self) -> MutexGuard<'_, GateQueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
