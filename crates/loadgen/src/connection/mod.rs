mod buffered_stream;
mod command;

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, WeakUnboundedSender};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use self::buffered_stream::{BufferedStream, WriteStatus};
pub(super) use self::command::Command;
use super::frames::{FrameReader, ServerFrame, describe_close};
use super::outcome::{Outcome, Role};
use super::protocol::{ProtocolSession, ServerMessage};
use super::publisher::Publisher;
use super::run::Run;
use super::stamp::Stamp;
use super::target::ByteStream;
use super::workload::{ScheduledMessage, Workload};

/// How long the server has to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A slow reader that reads again has caught up when nothing has arrived for this long.
const CAUGHT_UP_AFTER: Duration = Duration::from_secs(1);
/// A closed loop replaces a refused message after this pause.
pub(super) const REFUSED_PAUSE: Duration = Duration::from_millis(10);
const NORMAL_CLOSE: [u8; 2] = 1000u16.to_be_bytes();
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    /// Shared by all connections of a thread: every read is consumed before the next one.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Working,
    /// Told to report and to close.
    Finishing,
    /// Told to report and to drop the connection.
    Vanishing,
    /// Reported; waits for the server's close frame.
    Reported,
}

/// A connection: it receives, and publishes on command.
pub(super) struct Connection {
    run: Arc<Run>,
    work: Arc<Workload>,
    /// Also selects the recorder.
    number: usize,
    stream: BufferedStream,
    commands: UnboundedReceiver<Command>,
    own: WeakUnboundedSender<Command>,
    frames: FrameReader,
    /// Offset of the stamp in the last message.
    stamp_offset: usize,
    closed_loop: bool,
    /// Publishers whose closed loop this connection drives, by number.
    refills: Vec<(u16, Publisher)>,
    /// When to ping the server, unless something was received since the last tick.
    pings: Option<Interval>,
    has_received: bool,
    stalled: bool,
    phase: Phase,
    dues: Vec<u64>,
    /// Copies of its own messages.
    own_copies: u64,
    outcome: Outcome,
}

impl Connection {
    pub(super) fn new(
        run: Arc<Run>,
        work: Arc<Workload>,
        (number, role): (usize, Role),
        stream: Box<dyn ByteStream>,
        (own, commands): (WeakUnboundedSender<Command>, UnboundedReceiver<Command>),
    ) -> Self {
        let outcome = Outcome { role, channel: work.channel_of(number), ..Outcome::default() };
        Self {
            run,
            work,
            number,
            stream: BufferedStream::new(stream),
            commands,
            own,
            frames: FrameReader::default(),
            stamp_offset: 0,
            closed_loop: false,
            refills: Vec::new(),
            pings: None,
            has_received: false,
            stalled: false,
            phase: Phase::Working,
            dues: Vec::new(),
            own_copies: 0,
            outcome,
        }
    }

    /// Runs until the connection ends.
    pub(super) async fn run(mut self, session: ProtocolSession, outcomes: UnboundedSender<Outcome>) {
        self.pings = session.ping_after.map(|after| {
            let mut pings = interval_at(Instant::now() + after, after);
            pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
            pings
        });
        let mut end = self.feed(&session.early).err();
        if end.is_none() {
            end = poll_fn(|cx| self.poll(cx)).await.err();
        }
        if self.stalled && end.is_none() {
            end = self.catch_up().await.err();
        }
        self.outcome.ended = end;
        // Publishers see the closed channel and count later messages as unsent themselves.
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Send(_) = command {
                self.run.counters.unsent.fetch_add(1, Relaxed);
                self.run.end();
            }
        }
        let closes = self.outcome.ended.is_none() && self.phase != Phase::Vanishing;
        let _ = outcomes.send(std::mem::take(&mut self.outcome));
        self.phase = Phase::Reported;
        if closes {
            self.stream.queue(OpCode::Control(Control::Close), &NORMAL_CLOSE);
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, poll_fn(|cx| self.poll(cx))).await;
        }
        // Last: the runner waits until every connection has dropped its sender.
        drop(outcomes);
    }

    /// Ready when instructed to finish, or with the reason why the connection ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        loop {
            while self.phase == Phase::Working
                && let Poll::Ready(command) = self.commands.poll_recv(cx)
            {
                self.handle(command);
            }
            self.poll_pings(cx);
            self.write(cx)?;
            if self.stalled && self.phase == Phase::Working {
                return Poll::Pending;
            }
            // Everything due is written. Reading continues only while copies count, or until the server's close frame.
            if matches!(self.phase, Phase::Finishing | Phase::Vanishing) {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_read(cx))?;
        }
    }

    /// Reads what has piled up while it did not read, which may end in a close frame.
    async fn catch_up(&mut self) -> Result<(), String> {
        loop {
            match tokio::time::timeout(CAUGHT_UP_AFTER, poll_fn(|cx| self.poll_read(cx))).await {
                Ok(read) => read?,
                Err(_) => return Ok(()),
            }
        }
    }

    fn handle(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Publish { publisher, closed_loop }) => {
                self.outcome.publisher = Some(publisher);
                self.closed_loop = closed_loop;
            }
            Some(Command::Refill { number, publisher }) => self.refills.push((number, publisher)),
            Some(Command::Send(due)) => {
                // A closed loop has no schedule: a message is due when its publisher can send it.
                self.publish(if self.closed_loop { self.run.now() } else { due });
                self.run.end();
            }
            Some(Command::Stall) => self.stalled = true,
            Some(Command::Vanish) => self.phase = Phase::Vanishing,
            Some(Command::Finish) | None => self.phase = Phase::Finishing,
        }
    }

    /// Queues a message.
    fn publish(&mut self, due: u64) {
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
        self.run.record_sent(self.number, self.outcome.channel, due, now);
        let Some(channel) = self.work.channel(self.outcome.channel) else { return };
        let message = self.work.protocol.message(channel, self.work.text(&stamp));
        self.stream.queue(OpCode::Data(Data::Text), &message);
    }

    /// Pings the server after a silence, as the protocol asks clients to.
    fn poll_pings(&mut self, cx: &mut Context<'_>) {
        while let Some(pings) = self.pings.as_mut().filter(|_| self.phase == Phase::Working)
            && pings.poll_tick(cx).is_ready()
        {
            if !std::mem::take(&mut self.has_received) {
                self.stream.queue(OpCode::Data(Data::Text), self.work.protocol.ping());
            }
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        if self.stream.poll_write(cx)? == WriteStatus::NewlyBlocked {
            self.run.counters.blocked_writes.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(self.stream.poll_read(cx, &mut buffer))?;
            Poll::Ready(self.feed(buffer.filled()))
        })
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        let now = self.run.now();
        self.has_received = true;
        let mut frames = std::mem::take(&mut self.frames);
        let mut closed = None;
        let result = frames.feed(bytes, |received| match received {
            // Copies after the report no longer count: churning connections leave while messages arrive.
            ServerFrame::Message(_) if self.phase == Phase::Reported => {}
            ServerFrame::Message(message) => self.receive(message),
            ServerFrame::Ping(payload) => self.stream.queue(OpCode::Control(Control::Pong), payload),
            ServerFrame::Close(payload) => closed = Some(describe_close(payload)),
        });
        self.frames = frames;
        if self.outcome.role != Role::Steady {
            self.run.counters.disturbed_received.fetch_add(self.dues.len() as u64, Relaxed);
        } else if !self.dues.is_empty() && self.phase == Phase::Working {
            self.run.record_received(self.number, &self.dues, now);
        }
        self.dues.clear();
        match (closed, result) {
            (Some(closed), _) => {
                // Most servers wait for the answer. A failed write does not matter any more.
                self.stream.queue(OpCode::Control(Control::Close), &NORMAL_CLOSE);
                let _ = self.write(&mut Context::from_waker(Waker::noop()));
                Err(closed)
            }
            (None, Err(_)) => Err("1002 invalid WebSocket frames".to_owned()),
            (None, Ok(())) => Ok(()),
        }
    }

    fn receive(&mut self, message: &[u8]) {
        let Some(stamp) = Stamp::find(message, &mut self.stamp_offset) else {
            return self.on_other_message(message);
        };
        if stamp.run != self.run.id {
            self.run.counters.unrecognized.fetch_add(1, Relaxed);
            return;
        }
        if usize::try_from(stamp.channel) != Ok(self.outcome.channel) {
            self.run.counters.misrouted.fetch_add(1, Relaxed);
            return;
        }
        self.dues.push(stamp.due);
        self.outcome.record(stamp.publisher, stamp.sequence);
        if self.outcome.publisher == Some(stamp.publisher) {
            self.own_copies += 1;
            if self.work.protocol.acknowledges() && self.own_copies > self.outcome.accepted {
                self.run.counters.early_echo.fetch_add(1, Relaxed);
            }
        }
        for (_, publisher) in self.refills.iter().filter(|(number, _)| *number == stamp.publisher) {
            publisher
                .send(&self.run, ScheduledMessage { channel: self.outcome.channel, due: self.run.now() });
        }
        if self.closed_loop && self.outcome.publisher == Some(stamp.publisher) && self.run.begin() {
            self.publish(self.run.now());
            self.run.end();
        }
    }

    /// Handles a message without a stamp, usually an acknowledgement.
    fn on_other_message(&mut self, message: &[u8]) {
        match self.work.protocol.classify(message) {
            ServerMessage::Accepted => {
                self.outcome.accepted += 1;
                self.run.counters.accepted.fetch_add(1, Relaxed);
            }
            ServerMessage::Refused(reason) => {
                self.outcome.refused += 1;
                self.run.record_refused(&reason);
                self.publish_later();
            }
            ServerMessage::ReplyWith(reply) => self.stream.queue(OpCode::Data(Data::Text), reply),
            ServerMessage::Ignored => {}
            ServerMessage::Unrecognized => {
                self.run.counters.unrecognized.fetch_add(1, Relaxed);
            }
        }
    }

    /// In a closed loop, replaces a refused message after a pause.
    fn publish_later(&self) {
        if self.closed_loop && !self.run.is_over() {
            let (own, run, channel) = (self.own.clone(), self.run.clone(), self.outcome.channel);
            tokio::spawn(async move {
                tokio::time::sleep(REFUSED_PAUSE).await;
                if let Some(own) = own.upgrade() {
                    Publisher::Connection(own).send(&run, ScheduledMessage { channel, due: run.now() });
                }
            });
        }
    }
}

#[cfg(test)]
mod tests;
