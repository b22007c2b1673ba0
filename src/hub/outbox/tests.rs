use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Wake;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::hub::wire_format::tests::{CLOSES, FORMAT, format};

impl<W: DirectWrite> Outbox<W> {
    pub(in crate::hub) fn queued(&self) -> Vec<u8> {
        self.lock().queue.iter().flatten().copied().collect()
    }

    pub(in crate::hub) fn queued_blocks(&self) -> usize {
        self.lock().queue.len()
    }
}

/// Takes as many bytes at a time as its script says, and none after its end.
#[derive(Debug, Default)]
struct Scripted {
    allowances: Mutex<VecDeque<usize>>,
    taken: Mutex<Vec<u8>>,
}

impl Scripted {
    fn allow(&self, count: usize) {
        self.allowances.lock().unwrap().push_back(count);
    }
}

impl DirectWrite for Scripted {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.allowances.lock().unwrap().pop_front() {
            None | Some(0) => Err(io::ErrorKind::WouldBlock.into()),
            Some(allowed) => {
                let count = allowed.min(bytes.len());
                self.taken.lock().unwrap().extend_from_slice(&bytes[..count]);
                Ok(count)
            }
        }
    }

    fn try_write_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let joined: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.try_write(&joined)
    }
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn attached() -> Outbox<Scripted> {
    let outbox = Outbox::new(&FORMAT);
    outbox.attach(Scripted::default());
    outbox
}

fn taken(outbox: &Outbox<Scripted>) -> Vec<u8> {
    outbox.stream().unwrap().taken.lock().unwrap().clone()
}

fn frame(text: &[u8]) -> Frame {
    Frame::from_wire(Bytes::copy_from_slice(text))
}

#[test]
fn a_push_that_cannot_be_written_wakes_the_task() {
    let outbox = attached();
    let flag = Arc::new(Flag::default());
    outbox.register(&Waker::from(flag.clone()));
    outbox.stream().unwrap().allow(2);
    assert_eq!(outbox.push(&frame(b"abc"), 100), Pushed::Taken);
    assert!(flag.0.load(Ordering::Relaxed));
    assert_eq!(taken(&outbox), b"ab");
    outbox.stream().unwrap().allow(5);
    assert_eq!(outbox.flush().unwrap(), Flushed::Empty);
    assert_eq!(taken(&outbox), b"abc");
}

#[test]
fn too_much_unanswered_stops_reading_until_an_answer_wakes_the_task() {
    let outbox = attached();
    let flag = Arc::new(Flag::default());
    outbox.register(&Waker::from(flag.clone()));
    for _ in 0..64 {
        assert!(!outbox.is_waiting());
        outbox.asked(100);
    }
    outbox.asked(64 * 1024);
    assert!(outbox.is_waiting());
    for _ in 0..64 {
        outbox.answered(100);
    }
    assert!(outbox.is_waiting() && !flag.0.load(Ordering::Relaxed));
    outbox.answered(64 * 1024);
    assert!(!outbox.is_waiting() && flag.0.load(Ordering::Relaxed));
}

#[test]
fn frames_pushed_before_the_connection_is_attached_are_queued() {
    let outbox = Outbox::<Scripted>::new(&FORMAT);
    assert_eq!(outbox.push(&frame(b"early"), 100), Pushed::Taken);
    assert_eq!(outbox.flush().unwrap(), Flushed::Blocked);
    outbox.attach(Scripted::default()).unwrap().allow(5);
    assert_eq!(outbox.flush().unwrap(), Flushed::Empty);
    assert_eq!(taken(&outbox), b"early");
}

#[test]
fn a_corked_outbox_writes_once() {
    let outbox = attached();
    outbox.stream().unwrap().allow(100);
    outbox.cork();
    outbox.push(&frame(b"ack"), 100);
    outbox.push(&frame(b"copy"), 100);
    assert!(taken(&outbox).is_empty());
    assert_eq!(outbox.flush().unwrap(), Flushed::Empty);
    assert_eq!(taken(&outbox), b"ackcopy");
}

#[test]
fn a_slow_consumer_receives_the_rest_of_its_frame_and_the_close_frame() {
    let outbox = attached();
    outbox.stream().unwrap().allow(1);
    outbox.push(&frame(b"first"), 10);
    assert_eq!(outbox.push(&frame(b"second"), 10), Pushed::Taken);
    assert_eq!(outbox.push(&frame(b"third"), 10), Pushed::Overflow);
    assert_eq!(outbox.push(&frame(b"fourth"), 10), Pushed::Refused);
    assert_eq!(outbox.ending(), Some(Ending::Closed(&CLOSES.slow_consumer)));
    outbox.stream().unwrap().allow(1000);
    outbox.flush().unwrap();
    let mut expected = b"first".to_vec();
    expected.extend_from_slice(Frame::close(&CLOSES.slow_consumer).bytes());
    assert_eq!(taken(&outbox), expected);
}

#[test]
fn nothing_follows_a_close_frame() {
    let outbox = attached();
    outbox.push(&frame(b"last"), 100);
    assert!(outbox.close(&CLOSES.going_away));
    assert!(!outbox.close(&CLOSES.expired));
    assert_eq!(outbox.push(&frame(b"late"), 100), Pushed::Refused);
    outbox.stream().unwrap().allow(100);
    outbox.flush().unwrap();
    assert_eq!(taken(&outbox), [b"last", &Frame::close(&CLOSES.going_away).bytes()[..]].concat());
}

#[test]
fn short_frames_count_for_the_memory_that_they_take() {
    let outbox = attached();
    let limit = 1 << 20;
    let taken = (0..limit).take_while(|_| outbox.push(&frame(b"\x8a\x00"), limit) == Pushed::Taken).count();
    assert_eq!(taken, limit / BLOCK_COST);
    assert_eq!(outbox.ending(), Some(Ending::Closed(&CLOSES.slow_consumer)));
}

/// The task of a connection that does its own writing: as many bytes at a time as its script says.
fn drain(outbox: &Outbox<Scripted>, task: &Scripted) -> Flushed {
    outbox
        .drain(|slices| match slices {
            [only] => task.try_write(only),
            several => task.try_write_vectored(several),
        })
        .unwrap()
}

#[test]
fn a_sink_that_takes_nothing_now_is_drained_by_its_task() {
    let outbox = Outbox::<Scripted>::new(&FORMAT);
    outbox.defer();
    let flag = Arc::new(Flag::default());
    outbox.register(&Waker::from(flag.clone()));
    assert_eq!(outbox.push(&frame(b"first "), 100), Pushed::Taken);
    assert!(flag.0.load(Ordering::Relaxed), "the task is woken");
    assert_eq!(outbox.push(&frame(b"second"), 100), Pushed::Taken);
    assert_eq!(outbox.flush().unwrap(), Flushed::Blocked, "only the task writes");
    let task = Scripted::default();
    task.allow(3);
    assert_eq!(drain(&outbox, &task), Flushed::Blocked);
    assert_eq!(outbox.push(&frame(b" third"), 100), Pushed::Taken);
    outbox.close(&CLOSES.going_away);
    task.allow(1000);
    assert_eq!(drain(&outbox, &task), Flushed::Empty);
    let close_frame = Frame::close(&CLOSES.going_away);
    assert_eq!(*task.taken.lock().unwrap(), [b"first second third", &close_frame.bytes()[..]].concat());
}

#[test]
fn a_slow_consumer_behind_a_deferred_sink_is_closed() {
    let outbox = Outbox::<Scripted>::new(&FORMAT);
    outbox.defer();
    let task = Scripted::default();
    outbox.push(&frame(b"first"), 10);
    task.allow(1);
    drain(&outbox, &task);
    assert_eq!(outbox.push(&frame(b"second"), 10), Pushed::Taken);
    assert_eq!(outbox.push(&frame(b"third"), 10), Pushed::Overflow);
    task.allow(1000);
    drain(&outbox, &task);
    let close_frame = Frame::close(&CLOSES.slow_consumer);
    assert_eq!(*task.taken.lock().unwrap(), [b"first", &close_frame.bytes()[..]].concat());
}

#[test]
fn whole_blocks_are_taken_in_order_and_share_their_bytes() {
    let outbox = Outbox::<Scripted>::new(&FORMAT);
    outbox.defer();
    let first = frame(b"first");
    outbox.push(&first, 10);
    outbox.push(&frame(b"other"), 10);
    assert_eq!(outbox.take().unwrap().as_ptr(), first.bytes().as_ptr(), "no copy");
    assert_eq!(outbox.queued_bytes(), 5);
    assert_eq!(outbox.push(&frame(b"third"), 10), Pushed::Taken, "there is room again");
    outbox.close(&CLOSES.going_away);
    assert_eq!(outbox.take().as_deref(), Some(&b"other"[..]));
    assert_eq!(outbox.take().as_deref(), Some(&b"third"[..]));
    assert_eq!(outbox.take().as_ref(), Some(Frame::close(&CLOSES.going_away).bytes()));
    assert_eq!((outbox.take(), outbox.queued_bytes()), (None, 0));
}

#[test]
fn a_slow_consumer_whose_blocks_are_taken_keeps_what_was_taken_and_is_closed() {
    let outbox = Outbox::<Scripted>::new(&FORMAT);
    outbox.defer();
    outbox.push(&frame(b"first"), 10);
    assert!(outbox.take().is_some());
    outbox.push(&frame(b"second"), 10);
    assert_eq!(outbox.push(&frame(b"third"), 10), Pushed::Overflow);
    assert_eq!(outbox.take().as_ref(), Some(Frame::close(&CLOSES.slow_consumer).bytes()));
    assert_eq!(outbox.take(), None);
}

#[test]
fn the_transport_decides_how_a_close_is_written() {
    static SILENT: WireFormat = WireFormat { encode_close: |_| Frame::from_wire(Bytes::new()), ..format(0) };
    let outbox = Outbox::<Scripted>::new(&SILENT);
    outbox.attach(Scripted::default());
    assert!(outbox.close_for(CloseReason::Restarting));
    assert_eq!(outbox.ending(), Some(Ending::Closed(&CLOSES.restarting)));
    assert!(outbox.is_flushed());
}

#[test]
fn an_end_after_a_lost_connection_changes_nothing() {
    let outbox = attached();
    outbox.end();
    outbox.end();
    assert_eq!(outbox.ending(), Some(Ending::Gone));
    assert!(!outbox.close(&CLOSES.going_away));
}

#[test]
fn an_idle_outbox_stays_small() {
    // With the two counters of its `Arc`, it fits into 160 bytes.
    assert!(size_of::<Outbox>() <= 144, "{}", size_of::<Outbox>());
}

#[derive(Debug, Clone)]
enum Step {
    Push(Vec<u8>),
    Allow(usize),
    Flush,
    Cork,
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 1..12).prop_map(Step::Push),
        4 => (0usize..16).prop_map(Step::Allow),
        2 => Just(Step::Flush),
        1 => Just(Step::Cork),
        1 => Just(Step::Close),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn bytes_leave_in_order_whole_and_bounded(steps in steps(), limit in 0usize..60, deferred: bool) {
        let outbox = Outbox::<Scripted>::new(&FORMAT);
        let task = Scripted::default();
        if deferred { outbox.defer(); } else { outbox.attach(Scripted::default()); }
        let stream = outbox.stream().unwrap_or(&task);
        let flush = || if deferred { drain(&outbox, &task) } else { outbox.flush().unwrap() };
        let mut accepted: Vec<Vec<u8>> = Vec::new();
        let mut overflowed = false;
        for step in steps {
            match step {
                Step::Push(bytes) => match outbox.push(&frame(&bytes), limit) {
                    Pushed::Taken => accepted.push(bytes),
                    // It may be partly written.
                    Pushed::Overflow => { overflowed = true; accepted.push(bytes); }
                    Pushed::Refused => prop_assert!(outbox.ending().is_some()),
                },
                Step::Allow(count) => stream.allow(count),
                Step::Flush => { flush(); }
                Step::Cork => outbox.cork(),
                Step::Close => { outbox.close(&CLOSES.going_away); }
            }
            let waiting = outbox.lock().bytes;
            prop_assert!(waiting as usize <= limit + 12 + 40, "{waiting} bytes wait");
        }
        *stream.allowances.lock().unwrap() = vec![1000; 200].into();
        prop_assert_eq!(flush(), Flushed::Empty);
        let mut out = stream.taken.lock().unwrap().clone();
        if let Some(ending) = outbox.ending() {
            let close = match ending {
                Ending::Closed(close) => close,
                Ending::Gone => unreachable!(),
            };
            let close_frame = Frame::close(close).bytes().clone();
            prop_assert!(out.ends_with(&close_frame));
            out.truncate(out.len() - close_frame.len());
        }
        if overflowed {
            // A prefix of what was accepted, cut between two frames.
            let mut rest = &out[..];
            for bytes in &accepted {
                if rest.is_empty() { break; }
                prop_assert!(rest.starts_with(bytes));
                rest = &rest[bytes.len()..];
            }
            prop_assert!(rest.is_empty());
        } else {
            prop_assert_eq!(out, accepted.concat());
        }
    }
}
