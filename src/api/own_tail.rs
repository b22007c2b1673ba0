//! What happens on this node, as lines.

use super::ApiState;
use super::listing::Part;
use super::tail_line::{TailFilter, TailLine};
use crate::message::NodeName;
use crate::telemetry::{TailEvent, TailKind, Tailed};

/// How much a node tells at a time, in bytes. The rest waits, as far as it fits.
const ANSWER_BYTES: usize = 40 * 1024;

impl ApiState {
    /// What has happened on this node, for another one. Its own tail has no part in it: `by` reads that itself.
    pub(super) async fn own_tail(
        &self,
        by: &NodeName,
        name: &str,
        filter: &TailFilter,
    ) -> Option<Part<TailLine>> {
        let node = self.channels.node();
        if by == node {
            return Some(Part::new(None, None));
        }
        let events = self.tails.since_last(name, || self.context.metrics.tail.open())?;
        let (mut lines, mut bytes, mut skipped) = (Vec::new(), 0, 0);
        for event in events {
            match event {
                Tailed::Skipped(count) => skipped += count,
                Tailed::Event(event) if filter.wants(event.kind) => {
                    let line = self.tail_line(&event, false).await;
                    if !filter.matches(&line) {
                        continue;
                    }
                    bytes += serde_json::to_vec(&line).map_or(0, |json| json.len());
                    if bytes > ANSWER_BYTES {
                        skipped += 1;
                    } else {
                        lines.push(line);
                    }
                }
                Tailed::Event(_) => {}
            }
        }
        if skipped > 0 {
            lines.push(TailLine::skipped(node, skipped));
        }
        // The keys keep their order, and no two nodes have the same.
        let keys = (0..).map(|index: u32| format!("{node}{index:08x}"));
        Some(Part::new(keys.zip(lines), None))
    }

    /// The line of an event of this node. A refused message does not say whose it was: its connection does.
    pub(super) async fn tail_line(&self, event: &TailEvent, with_data: bool) -> TailLine {
        let name = event.connection.map(|connection| self.channels.socket_id(connection).to_string());
        let mut line = TailLine::new(event, self.channels.node(), name, with_data);
        if let (TailKind::Refused, None, Some(id)) = (event.kind, &event.user, event.connection)
            && let Some(outbox) = self.hub.outbox(id).await
            && let Some(info) = self.context.inquiries.ask(&[(id, outbox)]).await.remove(&id)
        {
            line.user = info.user.map(|user| user.to_text().into_owned());
            line.app = info.app;
            // A connection of an app may be on several.
            let only = info.channels.first().filter(|_| info.channels.len() == 1);
            line.channel = line.channel.or_else(|| only.map(|name| name.unscoped().to_owned()));
        }
        line
    }
}
