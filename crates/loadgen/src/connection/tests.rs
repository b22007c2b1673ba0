use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::deployment::AppSigner;
use crate::protocol::{Native, ProtocolClient, Pusher};

struct Harness {
    run: Arc<Run>,
    commands: UnboundedSender<Command>,
    outcome: UnboundedReceiver<Outcome>,
    server: DuplexStream,
}

/// A connection whose server is the test.
fn connect() -> Harness {
    connect_as(Role::Steady)
}

fn connect_as(role: Role) -> Harness {
    connect_with(role, ProtocolClient::Plain, ProtocolSession::default())
}

fn connect_with(role: Role, protocol: ProtocolClient, session: ProtocolSession) -> Harness {
    let run = Arc::new(Run::start(1, 1).unwrap());
    let work = Arc::new(Workload::new("c", 1, 1, 64, protocol));
    run.subscribers.set(vec![1]).unwrap();
    run.measure(0, u64::MAX);
    let (server, stream) = duplex(10_000);
    let (outcomes, outcome) = unbounded_channel();
    let (commands, inbox) = unbounded_channel();
    let inbox = (commands.downgrade(), inbox);
    let connection = Connection::new(run.clone(), work, (0, role), Box::new(stream), inbox);
    tokio::spawn(connection.run(session, outcomes));
    Harness { run, commands, outcome, server }
}

impl Harness {
    /// The payload of the next frame, which must be short.
    async fn read(&mut self) -> Vec<u8> {
        let mut head = [0; 6];
        self.server.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[1] & 0x7f)];
        self.server.read_exact(&mut payload).await.unwrap();
        payload.iter().zip(head[2..].iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
    }

    async fn write(&mut self, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode, u8::try_from(payload.len()).unwrap()];
        frame.extend_from_slice(payload);
        self.server.write_all(&frame).await.unwrap();
    }
}

#[tokio::test]
async fn latency_and_send_delay_count_from_the_due_time() {
    let mut harness = connect();
    harness.commands.send(Command::Publish { publisher: 3, closed_loop: false }).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    // Due at the start of the clock.
    assert!(harness.run.begin());
    harness.commands.send(Command::Send(0)).unwrap();
    let message = harness.read().await;
    let stamp = Stamp::find(&message, &mut 0).unwrap();
    assert_eq!((stamp.due, stamp.publisher, stamp.sequence, message.len()), (0, 3, 0, 64));
    harness.write(1, &message).await;
    assert!(harness.run.begin());
    harness.commands.send(Command::Send(harness.run.now())).unwrap();
    assert_eq!(Stamp::find(&harness.read().await, &mut 0).unwrap().sequence, 1);
    while harness.run.counters.received.load(Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let ([latency, _], send_delay) = harness.run.histograms().unwrap();
    assert_eq!((latency.len(), send_delay.len()), (1, 2));
    assert!(latency.min() >= 50_000 && send_delay.max() >= 50_000);
    assert_eq!(harness.run.counters.expected.load(Relaxed), 2);
    harness.run.stop();
    assert!(!harness.run.is_complete() && !harness.run.begin());
    harness.write(1, &message).await;
    while !harness.run.is_complete() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn native() -> ProtocolClient {
    ProtocolClient::Native(Native(Box::new(|_, _| Ok("a token".to_owned()))))
}

/// Nothing is signed in these tests.
struct NoApp;

impl AppSigner for NoApp {
    fn id(&self) -> &'static str {
        "1"
    }

    fn key(&self) -> &'static str {
        "key"
    }

    fn sign_channel(&self, _: &str, _: &str) -> String {
        String::new()
    }

    fn sign_request(&self, _: &str, _: &[u8]) -> String {
        String::new()
    }
}

#[tokio::test]
async fn a_copy_before_its_acknowledgement_is_an_early_echo() {
    let mut harness = connect_with(Role::Steady, native(), ProtocolSession::default());
    harness.commands.send(Command::Publish { publisher: 0, closed_loop: false }).unwrap();
    let accepted = br#"{"type":"sended","ok":true}"#;
    for (sequence, acknowledged_first, early_echo) in [(0, true, 0), (1, false, 1), (2, true, 1)] {
        assert!(harness.run.begin());
        harness.commands.send(Command::Send(harness.run.now())).unwrap();
        harness.read().await;
        let copy = message(&harness.run, sequence);
        let (first, second) =
            if acknowledged_first { (&accepted[..], &copy[..]) } else { (&copy[..], &accepted[..]) };
        harness.write(1, first).await;
        harness.write(1, second).await;
        while harness.run.counters.received.load(Relaxed) + harness.run.counters.accepted.load(Relaxed)
            < 2 * u64::from(sequence + 1)
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(harness.run.counters.early_echo.load(Relaxed), early_echo, "{sequence}");
    }
}

#[tokio::test]
async fn acknowledgements_and_the_close_code_are_reported() {
    let mut harness = connect_with(Role::Steady, native(), ProtocolSession::default());
    harness.write(1, br#"{"type":"sended","ok":true}"#).await;
    harness.write(1, br#"{"type":"sended","ok":false,"error":{"code":"unavailable","message":""}}"#).await;
    harness.write(1, b"something else").await;
    harness.write(9, b"ping").await;
    assert_eq!(harness.read().await, b"ping");
    harness.write(8, b"\x03\xf5try again later").await;
    let outcome = harness.outcome.recv().await.unwrap();
    assert_eq!((outcome.accepted, outcome.refused), (1, 1));
    assert_eq!(outcome.ended.as_deref(), Some("1013 try again later"));
    assert_eq!(harness.run.refusals(), [("unavailable".to_owned(), 1)].into());
    assert_eq!(harness.run.counters.unrecognized.load(Relaxed), 1);
    assert_eq!(harness.read().await, NORMAL_CLOSE);
}

#[tokio::test]
async fn it_closes_at_the_end_and_waits_for_the_close_frame() {
    let mut harness = connect();
    harness.commands.send(Command::Finish).unwrap();
    // It needs no sender of commands.
    drop(std::mem::replace(&mut harness.commands, unbounded_channel().0));
    assert_eq!(harness.outcome.recv().await.unwrap().ended, None);
    assert_eq!(harness.read().await, NORMAL_CLOSE);
    harness.write(8, &NORMAL_CLOSE).await;
    // The connection drops the last sender.
    assert!(harness.outcome.recv().await.is_none());
}

fn message(run: &Run, sequence: u32) -> Vec<u8> {
    let mut message = Vec::new();
    Stamp { run: run.id, channel: 0, publisher: 0, sequence, due: 0 }.write(&mut message);
    message
}

#[tokio::test]
async fn a_slow_reader_reads_at_the_end_and_is_counted_separately() {
    let mut harness = connect_as(Role::Slow);
    let messages: Vec<_> = (0..3).map(|sequence| message(&harness.run, sequence)).collect();
    harness.write(1, &messages[0]).await;
    while harness.run.counters.disturbed_received.load(Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    harness.commands.send(Command::Stall).unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    harness.write(1, &messages[1]).await;
    harness.write(1, &messages[2]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(harness.run.counters.disturbed_received.load(Relaxed), 1);
    harness.commands.send(Command::Finish).unwrap();
    let outcome = harness.outcome.recv().await.unwrap();
    assert_eq!((outcome.received, outcome.ended), (3, None));
    assert_eq!(
        (harness.run.counters.disturbed_received.load(Relaxed), harness.run.counters.received.load(Relaxed)),
        (3, 0)
    );
}

#[tokio::test]
async fn a_dropping_connection_sends_no_close_frame() {
    let mut harness = connect_as(Role::Dropping);
    harness.commands.send(Command::Vanish).unwrap();
    assert_eq!(harness.outcome.recv().await.unwrap().ended, None);
    let mut rest = Vec::new();
    harness.server.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn messages_of_other_runs_and_channels_do_not_count() {
    let mut harness = connect();
    let stamp = Stamp { run: harness.run.id, channel: 0, publisher: 0, sequence: 0, due: 0 };
    for stamp in [Stamp { run: !stamp.run, ..stamp }, Stamp { channel: 1, ..stamp }, stamp] {
        let mut message = Vec::new();
        stamp.write(&mut message);
        harness.write(1, &message).await;
    }
    harness.commands.send(Command::Publish { publisher: 0, closed_loop: false }).unwrap();
    while harness.run.counters.received.load(Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let counts =
        [&harness.run.counters.unrecognized, &harness.run.counters.misrouted, &harness.run.counters.received];
    assert_eq!(counts.map(|count| count.load(Relaxed)), [1, 1, 1]);
}

#[tokio::test]
async fn with_the_pusher_protocol_it_answers_pings_and_pings_after_silence() {
    let protocol = ProtocolClient::Pusher(Pusher { app: Arc::new(NoApp) });
    let session =
        ProtocolSession { ping_after: Some(Duration::from_millis(50)), ..ProtocolSession::default() };
    let mut harness = connect_with(Role::Steady, protocol, session);
    assert_eq!(harness.read().await, br#"{"event":"pusher:ping","data":{}}"#);
    harness.write(1, br#"{"event":"pusher:pong","data":"{}"}"#).await;
    harness.write(1, br#"{"event":"pusher:ping","data":"{}"}"#).await;
    assert_eq!(harness.read().await, br#"{"event":"pusher:pong","data":{}}"#);
    harness.write(1, br#"{"event":"pusher:error","data":{"code":4301,"message":"slower"}}"#).await;
    harness.write(8, b"\x10\x04").await;
    let outcome = harness.outcome.recv().await.unwrap();
    assert_eq!((outcome.refused, outcome.ended.as_deref()), (1, Some("4100")));
    assert_eq!(harness.run.refusals(), [("4301 slower".to_owned(), 1)].into());
    assert_eq!(harness.run.counters.unrecognized.load(Relaxed), 0);
}

#[tokio::test]
async fn a_subscriber_drives_the_closed_loop_of_its_publishers() {
    let mut harness = connect();
    let (commands, mut sent) = unbounded_channel();
    harness.commands.send(Command::Refill { number: 2, publisher: Publisher::Connection(commands) }).unwrap();
    for publisher in [1, 2, 3] {
        let mut message = Vec::new();
        Stamp { run: harness.run.id, channel: 0, publisher, sequence: 0, due: 0 }.write(&mut message);
        harness.write(1, &message).await;
    }
    while harness.run.counters.received.load(Relaxed) < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(matches!(sent.try_recv(), Ok(Command::Send(_))));
    assert!(sent.try_recv().is_err());
}
