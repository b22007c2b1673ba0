//! One connection of the benchmark: it receives, and sends where it is told to.

mod command;
mod pipe;

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

pub(super) use self::command::Command;
use self::pipe::{Pipe, Written};
use super::frames::{Frames, Received, close_in_words};
use super::outcome::{Outcome, Part};
use super::pacer::Publisher;
use super::speech::{Greeted, Heard};
use super::stamp::Stamp;
use super::tally::Run;
use super::target::Wire;
use super::workload::{Due, Workload};

/// How long the server has to answer a close frame.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// Who has read nothing for long has read all that waited for it when nothing has come for so long.
const CAUGHT_UP: Duration = Duration::from_secs(1);
/// A refused message of a closed loop is followed by another one after this.
pub(super) const PAUSE: Duration = Duration::from_millis(10);
const NORMAL_CLOSE: [u8; 2] = 1000u16.to_be_bytes();
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    /// One buffer for all connections of a thread: what is read is consumed before the next read.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
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
    pipe: Pipe,
    commands: UnboundedReceiver<Command>,
    own: WeakUnboundedSender<Command>,
    frames: Frames,
    /// Where the stamp stood in the last message.
    place: usize,
    window: bool,
    /// Whom it has to answer for, by number.
    refills: Vec<(u16, Publisher)>,
    /// When it asks whether the server is there, unless it heard something meanwhile.
    asks: Option<Interval>,
    has_heard: bool,
    stalled: bool,
    phase: Phase,
    dues: Vec<u64>,
    /// Copies of what it said itself.
    own_copies: u64,
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
            pipe: Pipe::new(wire),
            commands,
            own,
            frames: Frames::default(),
            place: 0,
            window: false,
            refills: Vec::new(),
            asks: None,
            has_heard: false,
            stalled: false,
            phase: Phase::Working,
            dues: Vec::new(),
            own_copies: 0,
            outcome,
        }
    }

    /// Works until the connection ends.
    pub(super) async fn run(mut self, greeted: Greeted, outcomes: UnboundedSender<Outcome>) {
        self.asks = greeted.ask_after.map(|after| {
            let mut asks = interval_at(Instant::now() + after, after);
            asks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            asks
        });
        let mut end = self.feed(&greeted.early).err();
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
            self.pipe.queue(OpCode::Control(Control::Close), &NORMAL_CLOSE);
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
            self.poll_ask(cx);
            self.write(cx)?;
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
            Some(Command::Refill { of, by }) => self.refills.push((of, by)),
            Some(Command::Send(due)) => {
                // A closed loop has no clock: a message is due when its publisher comes to it.
                self.say(if self.window { self.run.now() } else { due });
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
        let Some(channel) = self.work.channel(self.outcome.channel) else { return };
        let message = self.work.speech.message(channel, self.work.text(&stamp));
        self.pipe.queue(OpCode::Data(Data::Text), &message);
    }

    /// As clients do that have heard nothing for some time.
    fn poll_ask(&mut self, cx: &mut Context<'_>) {
        while let Some(asks) = self.asks.as_mut().filter(|_| self.phase == Phase::Working)
            && asks.poll_tick(cx).is_ready()
        {
            if !std::mem::take(&mut self.has_heard) {
                self.pipe.queue(OpCode::Data(Data::Text), self.work.speech.question());
            }
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        if self.pipe.poll_write(cx)? == Written::Blocked {
            self.run.blocked.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(self.pipe.poll_read(cx, &mut buffer))?;
            Poll::Ready(self.feed(buffer.filled()))
        })
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        let now = self.run.now();
        self.has_heard = true;
        let mut frames = std::mem::take(&mut self.frames);
        let mut closed = None;
        let result = frames.feed(bytes, |received| match received {
            // Who passes by goes while messages come, and has told what it saw.
            Received::Message(_) if self.phase == Phase::Reported => {}
            Received::Message(message) => self.receive(message),
            Received::Ping(payload) => self.pipe.queue(OpCode::Control(Control::Pong), payload),
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
                self.pipe.queue(OpCode::Control(Control::Close), &NORMAL_CLOSE);
                let _ = self.write(&mut Context::from_waker(Waker::noop()));
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
        if self.outcome.publisher == Some(stamp.publisher) {
            self.own_copies += 1;
            if self.work.speech.is_answered() && self.own_copies > self.outcome.accepted {
                self.run.hasty.fetch_add(1, Relaxed);
            }
        }
        for (_, by) in self.refills.iter().filter(|(of, _)| *of == stamp.publisher) {
            by.send(&self.run, Due { channel: self.outcome.channel, at: self.run.now() });
        }
        if self.window && self.outcome.publisher == Some(stamp.publisher) && self.run.begin() {
            self.say(self.run.now());
            self.run.end();
        }
    }

    /// Reads what is not of the benchmark: the answer to a message, as a rule.
    fn hear(&mut self, message: &[u8]) {
        match self.work.speech.hear(message) {
            Heard::Accepted => {
                self.outcome.accepted += 1;
                self.run.accepted.fetch_add(1, Relaxed);
            }
            Heard::Refused(reason) => {
                self.outcome.refused += 1;
                self.run.refuse(&reason);
                self.say_later();
            }
            Heard::Asked(answer) => self.pipe.queue(OpCode::Data(Data::Text), answer),
            Heard::Talk => {}
            Heard::Foreign => {
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

#[cfg(test)]
mod tests;
