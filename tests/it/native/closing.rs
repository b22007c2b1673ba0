//! How connections end. 1001 is in `tests/it/shutdown.rs`, 1013 in `limits`, 4401 in `expiry`, 4403 in `removal`.

use serde_json::json;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::native::join;
use crate::support::{Client, Raw, Request, Server, claims, eventually, token};

#[test]
fn a_close_frame_is_answered_with_its_own_code() {
    let server = Server::start(|_| {});
    for (payload, echoed, code) in [
        (&b"\x03\xe8"[..], &b"\x03\xe8"[..], 1000),
        (b"\x03\xe8bye", b"\x03\xe8", 1000),
        (b"\x03\xe9", b"\x03\xe9", 1001),
        (b"\x0f\xa0", b"\x0f\xa0", 4000),
        (b"", b"", 1005),
    ] {
        let mut raw = raw(&server);
        raw.write(&Raw::frame(OpCode::Control(Control::Close), payload));
        let close = raw.read().expect("a close frame");
        assert_eq!(close.header.opcode, OpCode::Control(Control::Close));
        assert!(close.payload.starts_with(echoed), "{close:?}");
        assert!(raw.read().is_none(), "the server ends the stream");
        let line = server.expect_log(|line| line["message"] == "disconnected" && line["code"] == code);
        assert_eq!(line["reason"], "client_closed");
    }
    eventually("all gone", || server.metric("yamabiko_connections") == 0);
    server.expect_metric("yamabiko_connections_closed_total{reason=\"client_closed\"}", 5);
    server.expect_metric("yamabiko_channels", 0);
}

#[test]
fn protocol_violations_close_with_their_code() {
    let server = Server::start(|_| {});
    let mut other = join(&server, 8, "Ren", "notes:");
    let close = OpCode::Control(Control::Close);
    let cases: [(&str, Vec<u8>, u16); 12] = [
        ("an unmasked frame", b"\x81\x02{}".to_vec(), 1002),
        ("RSV1", vec![0xc1, 0x80, 0, 0, 0, 0], 1002),
        ("RSV2", vec![0xa1, 0x80, 0, 0, 0, 0], 1002),
        ("RSV3", vec![0x91, 0x80, 0, 0, 0, 0], 1002),
        ("a reserved data opcode", vec![0x83, 0x80, 0, 0, 0, 0], 1002),
        ("a reserved control opcode", vec![0x8b, 0x80, 0, 0, 0, 0], 1002),
        ("a continuation of nothing", vec![0x80, 0x80, 0, 0, 0, 0], 1002),
        ("a fragmented ping", vec![0x09, 0x80, 0, 0, 0, 0], 1002),
        ("a ping that is too long", [&[0x89, 0xfe, 0, 126, 0, 0, 0, 0][..], &[0; 126]].concat(), 1002),
        ("a close frame of one byte", Raw::frame(close, b"\x03"), 1002),
        ("a message within a message", [[0x01, 0x80, 0, 0, 0, 0], [0x81, 0x80, 0, 0, 0, 0]].concat(), 1002),
        ("bad UTF-8", Raw::frame(OpCode::Data(Data::Text), b"{\"data\":{\"a\":\"\xff\"}}"), 1007),
    ];
    let count = i64::try_from(cases.len()).unwrap();
    for (what, bytes, code) in cases {
        let mut raw = raw(&server);
        raw.write(&bytes);
        let frame = raw.read().unwrap_or_else(|| panic!("a close frame was due after {what}"));
        assert_eq!(frame.close().0, code, "{what}");
        assert!(raw.read().is_none(), "{what}");
    }
    eventually("all gone", || server.metric("yamabiko_connections") == 1);
    server.expect_metric("yamabiko_connections_closed_total{reason=\"protocol_error\"}", count - 1);
    server.expect_metric("yamabiko_connections_closed_total{reason=\"invalid_utf8\"}", 1);
    other.say(&json!({}));
    other.expect_sent();
}

#[test]
fn nothing_is_sent_after_a_close_frame() {
    let server = Server::start(|_| {});
    let mut other = join(&server, 8, "Ren", "notes:");
    let mut raw = raw(&server);
    // A message behind a protocol violation is not read.
    let mut bytes = b"\x81\x02{}".to_vec();
    bytes.extend(Raw::text(r#"{"data":{"late":true}}"#));
    raw.write(&bytes);
    assert_eq!(raw.read().unwrap().close().0, 1002);
    other.say(&json!({ "n": 1 }));
    other.expect_sent();
    assert_eq!(other.expect_json()["data"], json!({ "n": 1 }));
    assert!(raw.read().is_none());
}

#[test]
fn a_lost_connection_leaves_nothing_behind() {
    let server = Server::start(|_| {});
    let mut stays = join(&server, 8, "Ren", "notes:");
    join(&server, 7, "Aoi", "notes:").vanish();
    join(&server, 9, "Yui", "alone:").vanish();
    eventually("both gone", || server.metric("yamabiko_connections") == 1);
    eventually("the channel gone", || server.metric("yamabiko_channels") == 1);
    let line = server.expect_log(|line| line["message"] == "disconnected" && line["user"] == 7);
    assert_eq!(
        (&line["reason"], &line["code"], &line["channel"]),
        (&json!("connection_lost"), &json!(1006), &json!("notes:"))
    );
    stays.say(&json!({}));
    stays.expect_sent();
}

#[test]
fn a_half_closed_connection_is_closed() {
    let server = Server::start(|_| {});
    let mut raw = raw(&server);
    raw.stream().shutdown(std::net::Shutdown::Write).unwrap();
    assert!(raw.read().is_none());
    eventually("gone", || server.metric("yamabiko_connections") == 0);
}

fn raw(server: &Server) -> Raw {
    let target = format!("/?token={}", token(&claims(7, "Aoi", "notes:")));
    Client::raw(Request::get(server.address, target)).expect("upgraded")
}
