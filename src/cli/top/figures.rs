//! Rates from two polls, and how figures are written.

use std::time::Duration;

use super::poll::{BusyChannel, BusySender, Node, Poll};
use super::table::Cell;
use crate::unix_time::unix_time;

/// The titles of the columns, with their widths. What is left of the line belongs to the first one.
pub(super) const NODES: &[(&str, u16)] = &[
    ("NODE", 0),
    ("STATE", 6),
    ("CONN", 5),
    ("FULL", 4),
    ("CHAN", 5),
    ("IN/s", 5),
    ("OUT/s", 5),
    ("REF/s", 5),
    ("DROP/s", 6),
    ("SLOW/s", 6),
    ("CPU", 4),
    ("MEM", 5),
    ("UP", 4),
];
/// The columns that give way where the names of nodes would be cut, the first one first.
pub(super) const NODES_OPTIONAL: &[&str] =
    &["UP", "SLOW/s", "REF/s", "FULL", "CHAN", "DROP/s", "MEM", "IN/s"];
pub(super) const CHANNELS: &[(&str, u16)] = &[("CHANNEL", 0), ("MSG/s", 6), ("SUBS", 6)];
pub(super) const USERS: &[(&str, u16)] = &[("USER", 0), ("MSG/s", 6)];

/// The nodes of the later poll. Rates are missing for nodes that are not in the earlier one.
pub(super) fn nodes(before: Option<&Poll>, now: &Poll) -> Vec<Vec<Cell>> {
    now.nodes.iter().map(|node| node_row(before_of(before, node), elapsed(before, now), node)).collect()
}

pub(super) fn channels(channels: &[BusyChannel]) -> Vec<Vec<Cell>> {
    let row = |channel: &BusyChannel| {
        vec![
            Cell::text(&in_app(channel.app.as_deref(), &channel.name)),
            Cell::number(channel.messages_per_second, rate(channel.messages_per_second)),
            count(channel.subscribers),
        ]
    };
    channels.iter().map(row).collect()
}

pub(super) fn users(senders: &[BusySender]) -> Vec<Vec<Cell>> {
    let row = |sender: &BusySender| {
        vec![
            Cell::text(&in_app(sender.app.as_deref(), &sender.id)),
            Cell::number(sender.messages_per_second, rate(sender.messages_per_second)),
        ]
    };
    senders.iter().map(row).collect()
}

/// The sums of all nodes, as a line.
pub(super) fn summary(before: Option<&Poll>, now: &Poll) -> String {
    let sum = |figure: fn(&Node) -> u64| -> u64 { now.nodes.iter().map(figure).sum() };
    let total = |figure: fn(&Node) -> u64| {
        let rates = now.nodes.iter().filter_map(|node| {
            Some(per_second(figure(before_of(before, node)?), figure(node), elapsed(before, now)?))
        });
        before.map_or("-".to_owned(), |_| rate(rates.sum()))
    };
    // Every node receives every message.
    let received = now.nodes.iter().filter_map(|node| {
        Some(per_second(
            before_of(before, node)?.messages_received,
            node.messages_received,
            elapsed(before, now)?,
        ))
    });
    let received = before.map_or("-".to_owned(), |_| rate(received.fold(0.0, f64::max)));
    format!(
        "{} connections   messages {received}/s   copies {}/s   refused {}/s   dropped {}/s",
        short(as_float(sum(|node| node.connections))),
        total(|node| node.deliveries),
        total(refused),
        total(|node| node.dropped),
    )
}

fn node_row(before: Option<&Node>, elapsed: Option<Duration>, node: &Node) -> Vec<Cell> {
    let per_second = |figure: fn(&Node) -> u64| match (before, elapsed) {
        (Some(before), Some(elapsed)) => {
            let value = per_second(figure(before), figure(node), elapsed);
            Cell::number(value, rate(value))
        }
        _ => Cell::number(0.0, "-".to_owned()),
    };
    let state = match node.broker.as_str() {
        _ if node.draining => Cell::alarm("drain"),
        "ready" => Cell::text("ready"),
        _ => Cell::alarm("broker"),
    };
    let cpu = match (before, elapsed) {
        (Some(before), Some(elapsed)) if !elapsed.is_zero() => {
            let share = (node.cpu_seconds - before.cpu_seconds).max(0.0) / elapsed.as_secs_f64() * 100.0;
            Cell::number(share, format!("{share:.0}%"))
        }
        _ => Cell::number(0.0, "-".to_owned()),
    };
    let full = as_float(node.connections) / as_float(node.connections_limit.max(1)) * 100.0;
    let up = unix_time().as_secs().saturating_sub(node.started_at);
    let name = if node.host.is_empty() { node.name.clone() } else { format!("{} {}", node.host, node.name) };
    vec![
        Cell::text(&name),
        state,
        count(node.connections),
        Cell::number(full, format!("{full:.0}%")),
        count(node.channels),
        per_second(|node| node.messages_received),
        per_second(|node| node.deliveries),
        per_second(refused),
        per_second(|node| node.dropped),
        per_second(|node| node.slow_consumers),
        cpu,
        Cell::number(as_float(node.resident_bytes), bytes(node.resident_bytes)),
        Cell::number(as_float(up), age(up)),
    ]
}

fn refused(node: &Node) -> u64 {
    node.handshakes_refused.saturating_add(node.messages_refused)
}

/// The same run of the node: a node has another name after a restart.
fn before_of<'a>(before: Option<&'a Poll>, node: &Node) -> Option<&'a Node> {
    before?.nodes.iter().find(|known| known.name == node.name)
}

fn elapsed(before: Option<&Poll>, now: &Poll) -> Option<Duration> {
    before.map(|before| now.at.saturating_duration_since(before.at)).filter(|elapsed| !elapsed.is_zero())
}

fn per_second(before: u64, now: u64, elapsed: Duration) -> f64 {
    as_float(now.saturating_sub(before)) / elapsed.as_secs_f64()
}

/// A channel or user of an app with the app's ID.
fn in_app(app: Option<&str>, name: &str) -> String {
    match app {
        Some(app) => format!("{app}/{name}"),
        None => name.to_owned(),
    }
}

fn count(value: u64) -> Cell {
    Cell::number(as_float(value), short(as_float(value)))
}

/// A rate in at most five characters.
fn rate(value: f64) -> String {
    if value > 0.0 && value < 9.95 { format!("{value:.1}") } else { short(value) }
}

/// A count in at most five characters.
fn short(value: f64) -> String {
    match value {
        _ if value < 9_999.5 => format!("{value:.0}"),
        _ if value < 99_950.0 => format!("{:.1}k", value / 1e3),
        _ if value < 999_500.0 => format!("{:.0}k", value / 1e3),
        _ if value < 99_950_000.0 => format!("{:.1}M", value / 1e6),
        _ => format!("{:.0}M", value / 1e6),
    }
}

fn bytes(bytes: u64) -> String {
    let mebibytes = as_float(bytes) / f64::from(1 << 20);
    if mebibytes < 1023.5 { format!("{mebibytes:.0}M") } else { format!("{:.1}G", mebibytes / 1024.0) }
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn as_float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_fit_into_their_columns() {
        let shorts =
            [0.0, 7.0, 9_999.0, 9_999.6, 99_949.0, 99_951.0, 999_499.0, 999_501.0, 12_345_678.0, 123e6];
        assert_eq!(
            shorts.map(short),
            ["0", "7", "9999", "10.0k", "99.9k", "100k", "999k", "1.0M", "12.3M", "123M"]
        );
        assert_eq!([0.0, 0.04, 0.5, 9.94, 9.96, 120.4].map(rate), ["0", "0.0", "0.5", "9.9", "10", "120"]);
        assert_eq!([5, 65, 7_300, 200_000].map(age), ["5s", "1m", "2h", "2d"]);
        assert_eq!([5 << 20, 1023 << 20, 1500 << 20].map(bytes), ["5M", "1023M", "1.5G"]);
    }
}
