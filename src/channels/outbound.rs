//! Sends this node's messages to the other nodes, one at a time, so that changes that occur meanwhile are sent together.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::Channels;
use super::effect::Effect;
use super::pending::{JoinError, PendingJoin};
use super::reserved_channels::USERS;
use super::snapshot::{MAX_PART_BYTES, Walk};
use super::state::State;
use super::wire::{ClusterMessage, LastEventOf, OVERHEAD};
use crate::broker::PublishError;
use crate::cluster::{TURN, encode};
use crate::history::Shared;
use crate::message::{Dispatch, NodeName};

/// How long to wait for a message to come back before the next one is sent.
const ECHO_TIMEOUT: Duration = Duration::from_secs(1);

/// The delay before a request that the broker has refused is sent again.
const REQUEST_AGAIN: Duration = Duration::from_millis(100);

/// What to send next.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) message: ClusterMessage,
    /// The joins among the changes.
    pub(super) joins: Vec<u64>,
}

/// A message that has to be sent again if the broker refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    Snapshot,
    Changes,
    Other,
}

impl Channels {
    /// Sends pending messages, forever.
    pub(super) async fn send_changes(self: Arc<Self>) {
        loop {
            let (turn, must_request) = {
                let state = self.state();
                (state.history_turn, state.nodes.must_request())
            };
            let turn = turn.map(|turn| Duration::from_millis(turn.saturating_sub(self.now())));
            tokio::select! {
                () = self.outbound.notified() => {}
                () = sleep(turn.unwrap_or_default()), if turn.is_some() => {}
                // The broker refused it and may be available again.
                () = sleep(REQUEST_AGAIN), if must_request => {}
            }
            while self.send_next().await {}
        }
    }

    /// Sends the next message. Returns whether there was one and the broker accepted it.
    async fn send_next(&self) -> bool {
        let next = self.state().next();
        let Some(Next { message, joins }) = next else { return self.send_last_events().await };
        let kind = Kind::of(&message);
        if self.send(&message).await.is_ok() {
            if matches!(kind, Kind::Snapshot | Kind::Changes) {
                // Lets messages of other nodes arrive in between, even if this node has a lot to send.
                let _ = timeout(ECHO_TIMEOUT, self.echoed.notified()).await;
            }
            return true;
        }
        self.update(|state| state.on_send_failed(kind, joins));
        false
    }

    /// Sends a message to all nodes. Completes when the broker has accepted it.
    pub(super) fn send(
        &self,
        message: &ClusterMessage,
    ) -> impl Future<Output = Result<(), PublishError>> + Send + use<> {
        let signal = encode(&self.node, self.since, message);
        let accepted = self.broker.publish_and_wait(Dispatch::Signal(signal).into());
        async move { accepted.await.map(drop) }
    }

    /// Sends the next batch of the last events of cache channels.
    async fn send_last_events(&self) -> bool {
        let next = self.state().next_last_events(self.now(), self.history_now());
        let Some(portion) = next else { return false };
        if portion.is_empty() {
            // Many entries have been visited: let other tasks run.
            yield_now().await;
            return true;
        }
        if self.send(&ClusterMessage::LastEvents(portion)).await.is_ok() {
            return true;
        }
        let now = self.now();
        self.state().repeat_last_events(now);
        false
    }
}

impl Kind {
    fn of(message: &ClusterMessage) -> Self {
        match message {
            ClusterMessage::SnapshotRequest => Self::Request,
            ClusterMessage::Snapshot { .. } | ClusterMessage::SnapshotPart { .. } => Self::Snapshot,
            ClusterMessage::Changes(_) => Self::Changes,
            _ => Self::Other,
        }
    }
}

impl State {
    /// What to send next, most urgent first.
    pub(super) fn next(&mut self) -> Option<Next> {
        let send = |message| Some(Next { message, joins: Vec::new() });
        if let Some(part) = self.next_part() {
            return send(part);
        }
        if self.nodes.take_request() {
            return send(ClusterMessage::SnapshotRequest);
        }
        let apps = &self.apps;
        let count = |app: &str, channel: &_| apps.get(app).map_or(0, |state| state.local_count(channel));
        if let Some((message, joins)) = self.changes.next(count) {
            return Some(Next { message, joins });
        }
        if std::mem::take(&mut self.due.snapshot) {
            let number = self.changes.begin_snapshot();
            self.snapshot = Some(Walk::new(number, self.apps.keys().cloned()));
            return self.next_part().and_then(send);
        }
        if let Some(message) = self.handovers.pop_front() {
            return send(message);
        }
        if std::mem::take(&mut self.due.heartbeat) {
            return send(ClusterMessage::Heartbeat);
        }
        None
    }

    fn next_part(&mut self) -> Option<ClusterMessage> {
        let (message, is_last) =
            self.snapshot.as_mut()?.next(|app| self.apps.get(app).map(|state| &state.local));
        if is_last {
            self.snapshot = None;
        }
        Some(message)
    }

    /// No node has received a message that was refused. Changes queued behind it would be refused as well, and connections must
    /// not wait for that.
    fn on_send_failed(&mut self, kind: Kind, mut joins: Vec<u64>) -> Vec<Effect> {
        let (had_any, given_up) = self.changes.give_up();
        self.due.snapshot |= had_any;
        joins.extend(given_up);
        match kind {
            Kind::Request => self.nodes.request_now(),
            // The snapshot contains departures, counts and sign-ins instead; joins fail.
            Kind::Snapshot | Kind::Changes => {
                self.snapshot = None;
                self.due.snapshot = true;
            }
            Kind::Other => {}
        }
        let mut effects = Vec::new();
        // New subscribers do not wait for the broker: they receive the count as this node knows it.
        for (app, channel, count) in self.take_awaiting_count() {
            self.send_count(&app, &channel, count, &mut effects);
        }
        for number in joins {
            let is_channel = self.joins.get(&number).is_some_and(|join| join.channel != *USERS);
            if is_channel && let Some(join) = self.joins.remove(&number) {
                self.fail_join(number, join, JoinError::Unavailable, &mut effects);
            }
        }
        effects
    }

    pub(super) fn fail_join(
        &mut self,
        number: u64,
        join: PendingJoin,
        error: JoinError,
        effects: &mut Vec<Effect>,
    ) {
        let PendingJoin { app, channel, connection, completion } = join;
        effects.push(Effect::Drop(self.exit(&app, &channel, connection, Some(number))));
        effects.push(Effect::Complete(completion, Err(error)));
    }

    /// A node has requested what is kept of cache channels.
    pub(super) fn last_events_requested(&mut self, node: &NodeName, now: u64) {
        for app in self.apps.values_mut() {
            app.history.begin_round();
        }
        let turn = now + self.nodes.wait_for_turn(node, now);
        self.history_turn = self.nodes.has_others().then_some(turn);
    }

    /// The next batch of last events to send; more may follow even if it is empty. `None`: it is not this node's turn, or all
    /// have been sent.
    fn next_last_events(&mut self, now: u64, history_now: u64) -> Option<Vec<LastEventOf>> {
        /// Maximum entries that are visited while the state is locked.
        const LOOKED_AT: usize = 4096;
        self.history_turn.filter(|turn| *turn <= now)?;
        let (mut portion, mut bytes) = (Vec::new(), 0);
        for (app, state) in &mut self.apps {
            let add = |shared: Shared<'_>| {
                bytes += shared.bytes() + OVERHEAD;
                portion.push(LastEventOf::new(app, &shared));
                bytes < MAX_PART_BYTES
            };
            if state.history.share(history_now, LOOKED_AT, add) {
                return Some(portion);
            }
        }
        if portion.is_empty() {
            self.history_turn = None;
            return None;
        }
        Some(portion)
    }

    /// The last events did not reach the other nodes: all of them have to be sent again.
    fn repeat_last_events(&mut self, now: u64) {
        for app in self.apps.values_mut() {
            app.history.begin_round();
        }
        self.history_turn = Some(now + TURN);
    }
}
