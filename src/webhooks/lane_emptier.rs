//! Reads the events of lanes in Redis into memory while this node has their leases, and removes those that were delivered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::lane_events::{LaneEvents, PendingLaneEvent};
use super::lane_filler::on_denied;
use super::lease::{Lease, Validity};
use super::pending_events::Dropped;
use super::queued::{Acknowledgement, Acknowledgements};
use super::webhook::Webhook;
use crate::broker::{LaneEntryId, LaneError, LaneReader, LaneRequest, LaneState, LeaseOutcome};
use crate::message::{AppEvent, ChannelName};

/// How long a node has the lane of a webhook without renewing that. Another node takes the lanes of a crashed one over after it.
const LEASE: Duration = Duration::from_secs(5);

/// How much earlier a node stops delivering: its clock and that of Redis may not run at the same speed.
const MARGIN: Duration = Duration::from_millis(500);

/// How often lanes are asked for.
const INTERVAL: Duration = Duration::from_millis(250);

/// The same after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Empties the lanes of all webhooks.
pub(super) struct LaneEmptier {
    events: Arc<LaneEvents>,
    reader: LaneReader,
    lanes: Vec<Lane>,
    /// How often all lanes were read to their ends: those of other nodes have none if they are empty.
    read: watch::Sender<u64>,
    stop: watch::Receiver<bool>,
}

/// What this node has read of a lane.
struct Lane {
    webhook: Arc<Webhook>,
    /// Empty before the first reply.
    epoch: String,
    after: LaneEntryId,
    acknowledgements: Arc<Acknowledgements>,
    /// This node had the lease after the last reply.
    held: bool,
    /// Redis has lost events that are in memory.
    is_only_here: bool,
}

/// What one request has led to.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// There may be more to read or to remove.
    more: bool,
    /// No other node has anything to deliver.
    complete: bool,
}

impl LaneEmptier {
    /// `read` counts how often everything was read. When `stop` is set, the leases are given up.
    pub(super) fn new(
        events: Arc<LaneEvents>,
        reader: LaneReader,
        webhooks: &[Arc<Webhook>],
        read: watch::Sender<u64>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let lanes = webhooks.iter().cloned().map(Lane::new).collect();
        Self { events, reader, lanes, read, stop }
    }

    /// Runs until it is stopped, or Redis denies the keys.
    pub(super) async fn run(mut self) {
        let mut pause = INTERVAL;
        loop {
            let is_last = *self.stop.borrow();
            if is_last {
                for lane in &mut self.lanes {
                    lane.add_lost_again(&self.events);
                }
            }
            match self.take(!is_last).await {
                Ok(progress) => {
                    pause = INTERVAL;
                    if progress.more && !is_last {
                        continue;
                    }
                    if progress.complete {
                        self.read.send_modify(|read| *read += 1);
                    }
                }
                Err(LaneError::Denied) => {
                    on_denied(&self.events, self.lanes.iter().map(|lane| &lane.webhook));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read webhook events from Redis, retrying");
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            if is_last || self.events.is_denied() {
                return;
            }
            tokio::select! {
                _ = timeout(pause, self.events.reader_woken()) => {}
                _ = self.stop.changed() => {}
            }
            if pause > INTERVAL {
                sleep(INTERVAL).await;
            }
        }
    }

    /// Asks for all lanes once.
    async fn take(&mut self, wants: bool) -> Result<Progress, LaneError> {
        let requests: Vec<_> = self.lanes.iter().map(|lane| lane.request(wants)).collect();
        // The lease begins when Redis has received the request, which is later.
        let asked = Instant::now();
        let (now, states) = match self.reader.take(&requests, LEASE).await {
            Ok(taken) => taken,
            Err(error) => {
                for (lane, request) in self.lanes.iter().zip(requests) {
                    lane.acknowledgements.restore(request.delivered);
                }
                return Err(error);
            }
        };
        for (lane, state) in self.lanes.iter().zip(&states) {
            lane.webhook.set_in_lane(state.length);
        }
        if !wants || self.events.is_denied() {
            return Ok(Progress::default());
        }
        let until = asked + LEASE - MARGIN;
        let mut progress = Progress { more: false, complete: true };
        for (lane, state) in self.lanes.iter_mut().zip(states) {
            lane.webhook.clock.advance_to(now);
            progress.more |= !state.events.is_empty();
            progress.complete &= state.length == 0 || state.lease != LeaseOutcome::HeldByOther;
            lane.apply(state, until, &self.events);
            progress.more |= !lane.acknowledgements.is_empty();
        }
        Ok(progress)
    }
}

impl Lane {
    fn new(webhook: Arc<Webhook>) -> Self {
        Self {
            webhook,
            epoch: String::new(),
            after: LaneEntryId::default(),
            acknowledgements: Arc::default(),
            held: false,
            is_only_here: false,
        }
    }

    fn request(&self, wants: bool) -> LaneRequest {
        LaneRequest {
            wants,
            epoch: self.epoch.clone(),
            after: self.after,
            limit: self.webhook.pending().room(),
            delivered: self.acknowledgements.take(),
        }
    }

    fn apply(&mut self, state: LaneState, until: Instant, events: &LaneEvents) {
        let LaneState { epoch, lease, events: read, .. } = state;
        let is_lost = !self.epoch.is_empty() && self.epoch != epoch;
        if is_lost {
            tracing::warn!(
                host = self.webhook.host(),
                "Redis has lost the queue of a webhook: events that this node has read are kept"
            );
            self.forget_lane();
            self.is_only_here = self.held;
        }
        self.epoch = epoch;
        match lease {
            LeaseOutcome::HeldByOther if self.held => {
                self.add_lost_again(events);
                self.clear();
                self.held = false;
            }
            LeaseOutcome::HeldByOther => {}
            LeaseOutcome::Renewed => self.renew(until),
            LeaseOutcome::Acquired => {
                // What Redis has lost is older than what there is now.
                if !self.is_only_here {
                    self.clear();
                }
                self.held = true;
                self.renew(until);
            }
        }
        self.push(read);
    }

    fn push(&mut self, events: Vec<(LaneEntryId, Bytes)>) {
        if events.is_empty() {
            return;
        }
        let mut pending = self.webhook.pending();
        for (id, event) in events {
            self.after = id;
            let acknowledgement = Acknowledgement::new(id, self.acknowledgements.clone());
            if let Err(Dropped { events, last }) = pending.push(&event, id.time, Some(acknowledgement)) {
                let (kind, channel) = last.unzip();
                let channel = channel.as_ref().map_or("", ChannelName::as_str);
                self.webhook.on_dropped(events, kind.unwrap_or("unknown"), channel);
            }
        }
        drop(pending);
        self.webhook.changed.notify_one();
    }

    fn renew(&self, until: Instant) {
        self.webhook.lease.send_modify(|lease| lease.validity = Validity::Until(until));
    }

    /// Removes what was read from memory, which is still in the lane. Returns it.
    fn clear(&mut self) -> Vec<Bytes> {
        self.forget_lane();
        let mut pending = self.webhook.pending();
        self.webhook.lease.send_modify(|lease| {
            *lease = Lease { term: lease.term + 1, validity: Validity::Never };
        });
        pending.drain()
    }

    /// What was read is not in the lane any more, or is another node's to deliver.
    fn forget_lane(&mut self) {
        self.acknowledgements.close();
        self.acknowledgements = Arc::default();
        self.after = LaneEntryId::default();
    }

    /// Adds events that Redis has lost, before another node delivers the rest.
    fn add_lost_again(&mut self, events: &LaneEvents) {
        let Some((_, lane)) = self.webhook.lane else { return };
        let Ok(channel) = ChannelName::new("unknown") else { return };
        if !std::mem::take(&mut self.is_only_here) {
            return;
        }
        for payload in self.clear() {
            let event = AppEvent { name: "unknown", channel: channel.clone(), payload };
            if let Err(event) = events.push(PendingLaneEvent { lane, is_public: false, event }) {
                self.webhook.on_full(&event);
            }
        }
    }
}
