//! Pages with the real pusher-js, in one process of Node.js.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::super::history::MessageId;
use super::record::{Level, Page, Position, What};
use super::shared::Shared;
use crate::pusher::page::SECRET;

/// The process. It ends when it is dropped.
pub(super) struct PusherPages {
    process: Child,
    orders: Option<ChildStdin>,
    reader: Option<JoinHandle<()>>,
}

impl PusherPages {
    /// `node_of` names the node to which the line of a page leads.
    pub(super) fn start(
        shared: &Arc<Shared>,
        node_of: impl Fn(usize) -> Option<usize> + Send + 'static,
    ) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/echo/pages.mjs");
        let mut process = Command::new("node")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node cannot be run: install Node.js 20");
        let orders = process.stdin.take();
        let output = BufReader::new(process.stdout.take().unwrap());
        let shared = shared.clone();
        let reader = std::thread::spawn(move || {
            for line in output.lines() {
                let Ok(line) = line else { return };
                let told: Value = serde_json::from_str(&line).unwrap_or_default();
                record(&shared, &told, &node_of);
            }
        });
        Self { process, orders, reader: Some(reader) }
    }

    /// A page that connects to this port, and stays.
    pub(super) fn open(&mut self, number: usize, page: &Page, port: u16, token: &str) {
        let order = json!({
            "page": number, "port": port, "key": "page", "secret": SECRET, "token": token,
            "user": page.user, "channels": page.channels, "plugin": page.level == Level::Plugin,
        });
        let orders = self.orders.as_mut().expect("it is running");
        writeln!(orders, "{order}").expect("Node.js reads");
    }
}

impl Drop for PusherPages {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.process.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn record(shared: &Shared, told: &Value, node_of: &impl Fn(usize) -> Option<usize>) {
    let Some(page) = told[0].as_u64().and_then(|page| usize::try_from(page).ok()) else {
        shared.note(format!("Node.js wrote {told}"));
        return;
    };
    let text = |index: usize| told[index].as_str().unwrap_or_default().to_owned();
    match told[1].as_str().unwrap_or_default() {
        "connected" => {
            shared.set_socket_id(page, Some(text(2)));
            shared.event(page, What::Connected { node: node_of(page), socket_id: Some(text(2)) });
        }
        "disconnected" => shared.event(page, What::Disconnected(text(2))),
        "subscribed" => shared.event(page, What::Subscribed { channel: text(2), fresh: false }),
        "message" => match MessageId::parse(&text(3)) {
            Some(id) => {
                let position = told[4].as_str().and_then(Position::parse);
                shared.event(page, What::Message { channel: text(2), id, position });
            }
            None => shared.note(format!("page {page}: not a message of ours: {told}")),
        },
        "gap" => shared.event(page, What::Gap { channel: text(2) }),
        "recovered" => {
            let count = told[3].as_u64().unwrap_or_default();
            shared.event(page, What::Recovered { channel: text(2), count });
        }
        "removed" => shared.event(page, What::Removed { channel: text(2), user: text(3) }),
        "authorized" => shared.event(page, What::Authorized { channel: text(2) }),
        "refused" => shared.event(page, What::Refused { channel: text(2), error: told[3].to_string() }),
        // They say why a connection ended.
        "error" => {}
        _ => shared.note(format!("page {page}: {told}")),
    }
}
