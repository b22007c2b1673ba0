//! One connection of the benchmark: it receives, and sends where it is told to.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::ReadBuf;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, WeakUnboundedSender};
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};

use super::frames::{Frames, Received};
use super::outcome::{Outcome, Part};
use super::pacer::Publisher;
use super::stamp::Stamp;
use super::tally::Run;
use super::target::{Wire, in_words};
use super::workload::{Due, Workload};

/// How long the server has to answer a close frame.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// Who has read nothing for long has read all that waited for it when nothing has come for so long.
const CAUGHT_UP: Duration = Duration::from_secs(1);
/// A refused message of a closed loop is followed by another one after this.
const PAUSE: Duration = Duration::from_millis(10);
const NORMAL_CLOSE: [u8; 2] = 1000u16.to_be_bytes();
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    /// One buffer for all connections of a thread: what is read is consumed before the next read.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// What a connection is told.
#[derive(Debug)]
pub(super) enum Command {
    /// It sends on its channel, under this number.
    Publish { publisher: u16, window: bool },
    /// It answers for the channel's closed loop: each copy that it receives lets Redis have another message.
    Refill(Publisher),
    /// Send a message that is due at this time, and that was begun.
    Send(u64),
    /// Read nothing any more, until the run is over.
    Stall,
    /// Report, and be gone without a word, as when a network is lost.
    Vanish,
    /// The run is over: report and say goodbye.
    Finish,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Working,
    /// It has been told to end, with a goodbye …
    Finishing,
    /// … or without.
    Vanishing,
    /// It has told what it saw, and only hears the server's goodbye.
    Reported,
}

/// A connection at work.
pub(super) struct Connection {
    run: Arc<Run>,
    work: Arc<Workload>,
    /// Also selects the recorder.
    number: usize,
    wire: Box<dyn Wire>,
    commands: UnboundedReceiver<Command>,
    own: WeakUnboundedSender<Command>,
    frames: Frames,
    /// Where the stamp stood in the last message.
    place: usize,
    out: Vec<u8>,
    written: usize,
    /// The server does not read at the moment.
    blocked: bool,
    window: bool,
    refill: Option<Publisher>,
    stalled: bool,
    phase: Phase,
    dues: Vec<u64>,
    outcome: Outcome,
}

impl Connection {
    pub(super) fn new(
        run: Arc<Run>,
        work: Arc<Workload>,
        (number, part): (usize, Part),
        wire: Box<dyn Wire>,
        (own, commands): (WeakUnboundedSender<Command>, UnboundedReceiver<Command>),
    ) -> Self {
        let outcome = Outcome { part, channel: work.channel_of(number), ..Outcome::default() };
        Self {
            run,
            work,
            number,
            wire,
            commands,
            own,
            frames: Frames::default(),
            place: 0,
            out: Vec::new(),
            written: 0,
            blocked: false,
            window: false,
            refill: None,
            stalled: false,
            phase: Phase::Working,
            dues: Vec::new(),
            outcome,
        }
    }

    /// Works until the connection ends.
    pub(super) async fn run(mut self, early: Vec<u8>, outcomes: UnboundedSender<Outcome>) {
        let mut end = self.feed(&early).err();
        if end.is_none() {
            end = poll_fn(|cx| self.poll(cx)).await.err();
        }
        if self.stalled && end.is_none() {
            end = self.catch_up().await.err();
        }
        self.outcome.ended = end;
        // What was still to be sent is told by the channel that is closed now.
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Send(_) = command {
                self.run.unsent.fetch_add(1, Relaxed);
                self.run.end();
            }
        }
        let goodbye = self.outcome.ended.is_none() && self.phase != Phase::Vanishing;
        let _ = outcomes.send(std::mem::take(&mut self.outcome));
        self.phase = Phase::Reported;
        if goodbye {
            self.queue(OpCode::Control(Control::Close), &NORMAL_CLOSE);
            let _ = tokio::time::timeout(CLOSE_WITHIN, poll_fn(|cx| self.poll(cx))).await;
        }
        // Not before: the run ends when the last connection has let go of it.
        drop(outcomes);
    }

    /// Ready when it is told to finish, or with the reason why it ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        loop {
            while self.phase == Phase::Working
                && let Poll::Ready(command) = self.commands.poll_recv(cx)
            {
                self.obey(command);
            }
            self.poll_write(cx)?;
            if self.stalled && self.phase == Phase::Working {
                return Poll::Pending;
            }
            // What is due was written; what comes is read only as long as it counts, or to hear the server's goodbye.
            if matches!(self.phase, Phase::Finishing | Phase::Vanishing) {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_read(cx))?;
        }
    }

    /// Reads what waited while it did not read: perhaps a goodbye.
    async fn catch_up(&mut self) -> Result<(), String> {
        loop {
            match tokio::time::timeout(CAUGHT_UP, poll_fn(|cx| self.poll_read(cx))).await {
                Ok(read) => read?,
                Err(_) => return Ok(()),
            }
        }
    }

    fn obey(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Publish { publisher, window }) => {
                self.outcome.publisher = Some(publisher);
                self.window = window;
            }
            Some(Command::Refill(refill)) => self.refill = Some(refill),
            Some(Command::Send(due)) => {
                self.say(due);
                self.run.end();
            }
            Some(Command::Stall) => self.stalled = true,
            Some(Command::Vanish) => self.phase = Phase::Vanishing,
            Some(Command::Finish) | None => self.phase = Phase::Finishing,
        }
    }

    /// Puts a message into the outgoing bytes.
    fn say(&mut self, due: u64) {
        let Some(publisher) = self.outcome.publisher else { return };
        let now = self.run.now();
        let stamp = Stamp {
            run: self.run.id,
            channel: u32::try_from(self.outcome.channel).unwrap_or(u32::MAX),
            publisher,
            sequence: self.outcome.sent,
            due,
        };
        self.outcome.sent += 1;
        self.run.sending(self.number, self.outcome.channel, due, now);
        let message = self.work.message(&stamp);
        self.queue(OpCode::Data(Data::Text), &message);
    }

    fn queue(&mut self, opcode: OpCode, payload: &[u8]) {
        let header = FrameHeader { opcode, mask: Some(rand::random()), ..FrameHeader::default() };
        let frame = Frame::from_payload(header, payload.to_vec().into());
        // Writing to memory does not fail.
        let _ = frame.format(&mut self.out);
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut *self.wire).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err("1006 the connection takes nothing".to_owned()),
                Poll::Ready(Ok(written)) => self.written += written,
                Poll::Ready(Err(error)) => return Err(format!("1006 {}", in_words(&error))),
                Poll::Pending => {
                    if !std::mem::replace(&mut self.blocked, true) {
                        self.run.blocked.fetch_add(1, Relaxed);
                    }
                    return Ok(());
                }
            }
        }
        if self.written > 0 {
            (self.out, self.written, self.blocked) = (Vec::new(), 0, false);
        }
        // TLS may keep bytes of its own.
        match Pin::new(&mut *self.wire).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(format!("1006 {}", in_words(&error))),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            match ready!(Pin::new(&mut *self.wire).poll_read(cx, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => {
                    Poll::Ready(Err("1006 the connection was lost".to_owned()))
                }
                Ok(()) => Poll::Ready(self.feed(buffer.filled())),
                Err(error) => Poll::Ready(Err(format!("1006 {}", in_words(&error)))),
            }
        })
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        let now = self.run.now();
        let mut frames = std::mem::take(&mut self.frames);
        let mut closed = None;
        let result = frames.feed(bytes, |received| match received {
            // Who passes by goes while messages come, and has told what it saw.
            Received::Message(_) if self.phase == Phase::Reported => {}
            Received::Message(message) => self.receive(message),
            Received::Ping(payload) => self.queue(OpCode::Control(Control::Pong), payload),
            Received::Close(payload) => closed = Some(close_in_words(payload)),
        });
        self.frames = frames;
        if self.outcome.part != Part::Steady {
            self.run.apart.fetch_add(self.dues.len() as u64, Relaxed);
        } else if !self.dues.is_empty() && self.phase == Phase::Working {
            self.run.received(self.number, &self.dues, now);
        }
        self.dues.clear();
        match (closed, result) {
            (Some(closed), _) => {
                // Most servers wait for the answer; whether this one does is its own business.
                self.queue(OpCode::Control(Control::Close), &NORMAL_CLOSE);
                let _ = self.poll_write(&mut Context::from_waker(Waker::noop()));
                Err(closed)
            }
            (None, Err(_)) => Err("1002 the server does not speak WebSocket".to_owned()),
            (None, Ok(())) => Ok(()),
        }
    }

    fn receive(&mut self, message: &[u8]) {
        let Some(stamp) = Stamp::find(message, &mut self.place) else { return self.hear(message) };
        if stamp.run != self.run.id {
            self.run.foreign.fetch_add(1, Relaxed);
            return;
        }
        if usize::try_from(stamp.channel) != Ok(self.outcome.channel) {
            self.run.strayed.fetch_add(1, Relaxed);
            return;
        }
        self.dues.push(stamp.due);
        self.outcome.hear(stamp.publisher, stamp.sequence);
        if let Some(refill) = &self.refill {
            refill.send(&self.run, Due { channel: self.outcome.channel, at: self.run.now() });
        }
        if self.window && self.outcome.publisher == Some(stamp.publisher) && self.run.begin() {
            self.say(self.run.now());
            self.run.end();
        }
    }

    /// Reads what is not of the benchmark: the answer to a message, as a rule.
    fn hear(&mut self, message: &[u8]) {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(rename = "type")]
            kind: &'a str,
            ok: bool,
            error: Option<Refused<'a>>,
        }
        #[derive(Deserialize)]
        struct Refused<'a> {
            code: &'a str,
        }
        match serde_json::from_slice(message) {
            Ok(Answer { kind: "sended", ok: true, .. }) => {
                self.outcome.accepted += 1;
                self.run.accepted.fetch_add(1, Relaxed);
            }
            Ok(Answer { kind: "sended", ok: false, error }) => {
                self.outcome.refused += 1;
                self.run.refuse(error.map_or("without a code", |error| error.code));
                self.say_later();
            }
            _ => {
                self.run.foreign.fetch_add(1, Relaxed);
            }
        }
    }

    /// In a closed loop, a refused message is followed by another one, but not at once.
    fn say_later(&self) {
        if self.window && !self.run.is_over() {
            let (own, run, channel) = (self.own.clone(), self.run.clone(), self.outcome.channel);
            tokio::spawn(async move {
                tokio::time::sleep(PAUSE).await;
                if let Some(own) = own.upgrade() {
                    Publisher::Connection(own).send(&run, Due { channel, at: run.now() });
                }
            });
        }
    }
}

/// The code and the reason.
fn close_in_words(payload: &[u8]) -> String {
    match payload.split_first_chunk() {
        Some((code, reason)) => {
            let reason = String::from_utf8_lossy(reason);
            format!("{} {reason}", u16::from_be_bytes(*code)).trim_end().to_owned()
        }
        None => "1005 without a code".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::message::ChannelName;

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
        let run = Arc::new(Run::start(1, 1).unwrap());
        let work = Arc::new(Workload::new(&ChannelName::new("c").unwrap(), 1, 1, 64, true).unwrap());
        run.subscribers.set(vec![1]).unwrap();
        run.measure(0, u64::MAX);
        let (server, wire) = duplex(10_000);
        let (outcomes, outcome) = unbounded_channel();
        let (commands, inbox) = unbounded_channel();
        let inbox = (commands.downgrade(), inbox);
        let connection = Connection::new(run.clone(), work, (0, part), Box::new(wire), inbox);
        tokio::spawn(connection.run(Vec::new(), outcomes));
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

    #[tokio::test]
    async fn answers_are_counted_and_the_end_is_told() {
        let mut bench = bench();
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
}
