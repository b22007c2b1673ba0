//! The server is the test.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::deployment::App;
use crate::speech::{Native, Pusher, Speech};

struct Bench {
    run: Arc<Run>,
    commands: UnboundedSender<Command>,
    outcome: UnboundedReceiver<Outcome>,
    server: DuplexStream,
}

/// A connection whose server is this test.
fn bench() -> Bench {
    bench_as(Part::Steady)
}

fn bench_as(part: Part) -> Bench {
    bench_with(part, Speech::Plain, Greeted::default())
}

fn bench_with(part: Part, speech: Speech, greeted: Greeted) -> Bench {
    let run = Arc::new(Run::start(1, 1).unwrap());
    let work = Arc::new(Workload::new("c", 1, 1, 64, speech));
    run.subscribers.set(vec![1]).unwrap();
    run.measure(0, u64::MAX);
    let (server, wire) = duplex(10_000);
    let (outcomes, outcome) = unbounded_channel();
    let (commands, inbox) = unbounded_channel();
    let inbox = (commands.downgrade(), inbox);
    let connection = Connection::new(run.clone(), work, (0, part), Box::new(wire), inbox);
    tokio::spawn(connection.run(greeted, outcomes));
    Bench { run, commands, outcome, server }
}

impl Bench {
    /// The payload of the next frame, which is short.
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
async fn latency_and_lateness_count_from_the_due_time() {
    let mut bench = bench();
    bench.commands.send(Command::Publish { publisher: 3, window: false }).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    // It was due at the start of the clock.
    assert!(bench.run.begin());
    bench.commands.send(Command::Send(0)).unwrap();
    let message = bench.read().await;
    let stamp = Stamp::find(&message, &mut 0).unwrap();
    assert_eq!((stamp.due, stamp.publisher, stamp.sequence, message.len()), (0, 3, 0, 64));
    bench.write(1, &message).await;
    assert!(bench.run.begin());
    bench.commands.send(Command::Send(bench.run.now())).unwrap();
    assert_eq!(Stamp::find(&bench.read().await, &mut 0).unwrap().sequence, 1);
    while bench.run.received.load(Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let ([latency, _], late) = bench.run.times().unwrap();
    assert_eq!((latency.len(), late.len()), (1, 2));
    assert!(latency.min() >= 50_000 && late.max() >= 50_000);
    assert_eq!(bench.run.expected.load(Relaxed), 2);
    bench.run.stop();
    assert!(!bench.run.is_complete() && !bench.run.begin());
    bench.write(1, &message).await;
    while !bench.run.is_complete() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn native() -> Speech {
    Speech::Native(Native(Box::new(|_, _| Ok("a token".to_owned()))))
}

/// Nothing is signed in these tests.
struct NoApp;

impl App for NoApp {
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
async fn a_copy_before_its_answer_is_seen() {
    let mut bench = bench_with(Part::Steady, native(), Greeted::default());
    bench.commands.send(Command::Publish { publisher: 0, window: false }).unwrap();
    let accepted = br#"{"type":"sended","ok":true}"#;
    for (sequence, answer_first, hasty) in [(0, true, 0), (1, false, 1), (2, true, 1)] {
        assert!(bench.run.begin());
        bench.commands.send(Command::Send(bench.run.now())).unwrap();
        bench.read().await;
        let copy = message(&bench.run, sequence);
        let (first, second) =
            if answer_first { (&accepted[..], &copy[..]) } else { (&copy[..], &accepted[..]) };
        bench.write(1, first).await;
        bench.write(1, second).await;
        while bench.run.received.load(Relaxed) + bench.run.accepted.load(Relaxed)
            < 2 * u64::from(sequence + 1)
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(bench.run.hasty.load(Relaxed), hasty, "{sequence}");
    }
}

#[tokio::test]
async fn answers_are_counted_and_the_end_is_told() {
    let mut bench = bench_with(Part::Steady, native(), Greeted::default());
    bench.write(1, br#"{"type":"sended","ok":true}"#).await;
    bench.write(1, br#"{"type":"sended","ok":false,"error":{"code":"unavailable","message":""}}"#).await;
    bench.write(1, b"something else").await;
    bench.write(9, b"are you there?").await;
    assert_eq!(bench.read().await, b"are you there?");
    bench.write(8, b"\x03\xf5try again later").await;
    let outcome = bench.outcome.recv().await.unwrap();
    assert_eq!((outcome.accepted, outcome.refused), (1, 1));
    assert_eq!(outcome.ended.as_deref(), Some("1013 try again later"));
    assert_eq!(bench.run.reasons(), [("unavailable".to_owned(), 1)].into());
    assert_eq!(bench.run.foreign.load(Relaxed), 1);
    assert_eq!(bench.read().await, NORMAL_CLOSE);
}

#[tokio::test]
async fn at_the_end_it_closes_and_waits_for_the_answer() {
    let mut bench = bench();
    bench.commands.send(Command::Finish).unwrap();
    // Nobody has to keep the other end of the commands.
    drop(std::mem::replace(&mut bench.commands, unbounded_channel().0));
    assert_eq!(bench.outcome.recv().await.unwrap().ended, None);
    assert_eq!(bench.read().await, NORMAL_CLOSE);
    bench.write(8, &NORMAL_CLOSE).await;
    // The last sender goes with the connection.
    assert!(bench.outcome.recv().await.is_none());
}

fn message(run: &Run, sequence: u32) -> Vec<u8> {
    let mut message = Vec::new();
    Stamp { run: run.id, channel: 0, publisher: 0, sequence, due: 0 }.write(&mut message);
    message
}

#[tokio::test]
async fn one_that_stalls_reads_at_the_end_and_counts_apart() {
    let mut bench = bench_as(Part::Slow);
    let messages: Vec<_> = (0..3).map(|sequence| message(&bench.run, sequence)).collect();
    bench.write(1, &messages[0]).await;
    while bench.run.apart.load(Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bench.commands.send(Command::Stall).unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    bench.write(1, &messages[1]).await;
    bench.write(1, &messages[2]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.run.apart.load(Relaxed), 1);
    bench.commands.send(Command::Finish).unwrap();
    let outcome = bench.outcome.recv().await.unwrap();
    assert_eq!((outcome.received, outcome.ended), (3, None));
    assert_eq!((bench.run.apart.load(Relaxed), bench.run.received.load(Relaxed)), (3, 0));
}

#[tokio::test]
async fn one_that_vanishes_says_nothing() {
    let mut bench = bench_as(Part::Dropping);
    bench.commands.send(Command::Vanish).unwrap();
    assert_eq!(bench.outcome.recv().await.unwrap().ended, None);
    let mut rest = Vec::new();
    bench.server.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn messages_of_others_do_not_count() {
    let mut bench = bench();
    let stamp = Stamp { run: bench.run.id, channel: 0, publisher: 0, sequence: 0, due: 0 };
    for stamp in [Stamp { run: !stamp.run, ..stamp }, Stamp { channel: 1, ..stamp }, stamp] {
        let mut message = Vec::new();
        stamp.write(&mut message);
        bench.write(1, &message).await;
    }
    bench.commands.send(Command::Publish { publisher: 0, window: false }).unwrap();
    while bench.run.received.load(Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let counts = [&bench.run.foreign, &bench.run.strayed, &bench.run.received];
    assert_eq!(counts.map(|count| count.load(Relaxed)), [1, 1, 1]);
}

#[tokio::test]
async fn with_the_pusher_protocol_it_answers_pings_and_asks_after_silence() {
    let speech = Speech::Pusher(Pusher { app: Arc::new(NoApp) });
    let greeted = Greeted { ask_after: Some(Duration::from_millis(50)), ..Greeted::default() };
    let mut bench = bench_with(Part::Steady, speech, greeted);
    assert_eq!(bench.read().await, br#"{"event":"pusher:ping","data":{}}"#);
    bench.write(1, br#"{"event":"pusher:pong","data":"{}"}"#).await;
    bench.write(1, br#"{"event":"pusher:ping","data":"{}"}"#).await;
    assert_eq!(bench.read().await, br#"{"event":"pusher:pong","data":{}}"#);
    bench.write(1, br#"{"event":"pusher:error","data":{"code":4301,"message":"slower"}}"#).await;
    bench.write(8, b"\x10\x04").await;
    let outcome = bench.outcome.recv().await.unwrap();
    assert_eq!((outcome.refused, outcome.ended.as_deref()), (1, Some("4100")));
    assert_eq!(bench.run.reasons(), [("4301 slower".to_owned(), 1)].into());
    assert_eq!(bench.run.foreign.load(Relaxed), 0);
}

#[tokio::test]
async fn one_who_reads_answers_for_the_publishers_that_it_was_given() {
    let mut bench = bench();
    let (commands, mut sent) = unbounded_channel();
    bench.commands.send(Command::Refill { of: 2, by: Publisher::Connection(commands) }).unwrap();
    for publisher in [1, 2, 3] {
        let mut message = Vec::new();
        Stamp { run: bench.run.id, channel: 0, publisher, sequence: 0, due: 0 }.write(&mut message);
        bench.write(1, &message).await;
    }
    while bench.run.received.load(Relaxed) < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(matches!(sent.try_recv(), Ok(Command::Send(_))));
    assert!(sent.try_recv().is_err());
}
