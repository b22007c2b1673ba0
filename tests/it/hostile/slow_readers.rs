//! Clients that never read.

use tungstenite::protocol::frame::coding::{Control, OpCode};

use super::{Others, connect, read_to_the_end, resident, start};
use crate::support::{Raw, eventually};

#[test]
fn clients_that_never_read_use_bounded_memory() {
    let server = start(|options| {
        options.set("limits.outbox_bytes", 256 * 1024);
    });
    let mut others = Others::join(&server);
    let mut lazy: Vec<_> = (0..20).map(|_| connect(&server, "chat:")).collect();
    let before = resident(&server);
    let blob = "x".repeat(60_000);
    let count = 2 * kernel_buffer() / blob.len();
    let mut most = 0;
    for number in 0..count {
        others.talk_with(&format!("{number} {blob}"));
        if number % 10 == 0 {
            most = most.max(resident(&server).saturating_sub(before));
        }
    }
    assert!(most < 48 << 20, "{most} bytes more, for 20 outboxes of 256 KiB");
    eventually("all slow consumers closed", || {
        server.metric("yamabiko_connections_closed_total{reason=\"slow_consumer\"}") == 20
    });
    server.expect_metric("yamabiko_connections", 2);
    for raw in &mut lazy {
        read_to_the_end(raw.stream());
    }
    others.talk();
}

#[test]
fn a_ping_flood_by_a_client_that_never_reads_is_closed() {
    let server = start(|_| {});
    let mut others = Others::join(&server);
    // Equal ones would share their pongs.
    for (floods, payloads) in [(1, [&b""[..], b"p"]), (2, [&[b'p'; 125], &[b'q'; 125]])] {
        let before = resident(&server);
        let mut flood = connect(&server, "chat:");
        let ping = |payload| Raw::frame(OpCode::Control(Control::Ping), payload);
        let pings = payloads.map(ping).concat().repeat(5_000);
        let mut written = 0;
        while flood.try_write(&pings).is_ok() {
            written += pings.len();
            assert!(written < 1 << 30, "it is not closed after {written} bytes of pings");
        }
        others.talk();
        eventually("the flood closed", || {
            server.metric("yamabiko_connections_closed_total{reason=\"slow_consumer\"}") == floods
        });
        let grown = resident(&server).saturating_sub(before);
        assert!(grown < 16 << 20, "{grown} bytes more");
    }
}

/// The most that the kernel keeps of what a server has sent.
fn kernel_buffer() -> usize {
    let sizes = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap();
    sizes.split_whitespace().last().unwrap().parse().unwrap()
}
