//! What a delivery costs: through an outbox into a sink, and through the hub into real sockets on loopback.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a benchmark that panics has failed")]

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, Semaphore};
use yamabiko::hub::{Connection, DirectWrite, Hub, Outbox, WireFormat};
use yamabiko::message::{Audience, ChannelName, Frame};
use yamabiko::protocol::native;
use yamabiko::telemetry::Metrics;

const LIMIT: usize = 1 << 20;
const TEXT: [u8; 128] = [b'x'; 128];

static FORMAT: WireFormat = WireFormat {
    encoding: native::ENCODING,
    closes: &native::close::CLOSES,
    all_closes: &[&native::close::ALL],
    encode_close: Frame::close,
};

/// A connection that always takes everything.
struct Open;

impl DirectWrite for Open {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn try_write_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }
}

/// The lock and the books around a write, without the write.
fn outbox(c: &mut Criterion) {
    let frame = Frame::text(&[&TEXT]);
    let mut group = c.benchmark_group("outbox");
    let outbox = Outbox::new(&FORMAT);
    outbox.attach(Open);
    group.bench_function("push, written at once", |b| b.iter(|| outbox.push(&frame, LIMIT)));
    for waiting in [1, 64] {
        group.throughput(Throughput::Elements(waiting));
        group.bench_function(format!("push {waiting} that wait, then flush"), |b| {
            b.iter(|| {
                outbox.cork();
                for _ in 0..waiting {
                    outbox.push(&frame, LIMIT);
                }
                outbox.flush().unwrap()
            });
        });
    }
    group.bench_function("a connection's outbox, made and dropped", |b| {
        b.iter_batched(|| (), |()| Outbox::<Open>::new(&FORMAT), BatchSize::SmallInput);
    });
    group.finish();
}

/// A hub with one shard, and subscribers whose clients read and count everything.
struct Room {
    runtime: Runtime,
    hub: Arc<Hub>,
    /// Where the messages go in turn, and how many receive them there.
    targets: Vec<(ChannelName, usize)>,
    frame: Frame,
    hold: Arc<Semaphore>,
    readers: Arc<Readers>,
    _connections: Vec<Connection>,
}

/// What the subscribers are on.
#[derive(Clone, Copy)]
enum Channels {
    /// All on one.
    One,
    /// All on the same two, which have a message in turn.
    Two,
    /// All on one and each on its own. Every fourth message is for one of them.
    Own,
}

#[derive(Default)]
struct Readers {
    bytes: AtomicUsize,
    awaited: AtomicUsize,
    there: Notify,
}

impl Room {
    fn open(subscribers: usize, channels: Channels) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let readers = Arc::new(Readers::default());
        let name = |room: usize| ChannelName::new(&format!("chat:room{room}")).unwrap();
        let targets = match channels {
            Channels::One => vec![(name(0), subscribers)],
            Channels::Two => vec![(name(0), subscribers), (name(1), subscribers)],
            Channels::Own => (0..subscribers)
                .flat_map(|user| [vec![(name(0), subscribers); 3], vec![(name(1 + user), 1)]].concat())
                .collect(),
        };
        let (hub, connections) = runtime.block_on(async {
            let hub = Hub::start(NonZeroUsize::MIN, LIMIT, &Arc::new(Metrics::new()));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut connections = Vec::new();
            for user in 0..subscribers {
                let reading = TcpStream::connect(address).await.unwrap();
                let (writing, _) = listener.accept().await.unwrap();
                writing.set_nodelay(true).unwrap();
                let outbox = Arc::new(Outbox::new(&FORMAT));
                outbox.attach(writing);
                let mut connection = hub.connect(outbox);
                let id = i64::try_from(user).unwrap().into();
                connection.join(&name(0), &id);
                match channels {
                    Channels::One => {}
                    Channels::Two => connection.join(&name(1), &id),
                    Channels::Own => connection.join(&name(1 + user), &id),
                }
                connections.push(connection);
                tokio::spawn(read(reading, readers.clone()));
            }
            (hub, connections)
        });
        Self {
            runtime,
            hub,
            targets,
            frame: Frame::text(&[&TEXT]),
            hold: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            readers,
            _connections: connections,
        }
    }

    /// Publishes this many messages, `together` at a time, and waits each time until every subscriber has them.
    fn publish(&self, messages: u64, together: u64) -> Duration {
        self.runtime.block_on(async {
            let begun = Instant::now();
            let mut left = messages;
            let mut targets = self.targets.iter().cycle();
            while left > 0 {
                let now = left.min(together);
                left -= now;
                let now: Vec<_> = targets.by_ref().take(usize::try_from(now).unwrap()).collect();
                let copies: usize = now.iter().map(|(_, subscribers)| subscribers).sum();
                self.readers.awaited.fetch_add(copies * self.frame.bytes().len(), Ordering::SeqCst);
                for (channel, _) in now {
                    let hold = self.hold.clone().try_acquire_owned().unwrap();
                    self.hub.publish(channel, hold, |_| Some((Audience::Everyone, self.frame.clone())));
                }
                self.readers.wait().await;
            }
            begun.elapsed()
        })
    }
}

impl Readers {
    async fn wait(&self) {
        while self.bytes.load(Ordering::SeqCst) < self.awaited.load(Ordering::SeqCst) {
            self.there.notified().await;
        }
    }
}

async fn read(mut stream: TcpStream, readers: Arc<Readers>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let bytes = readers.bytes.fetch_add(read, Ordering::SeqCst) + read;
        if bytes >= readers.awaited.load(Ordering::SeqCst) {
            readers.there.notify_one();
        }
    }
}

/// From `publish` to the last byte in the last reader. The readers are in the same process and cost as well: compare
/// a change with what was before it, and no figure with another program's.
fn hub(c: &mut Criterion) {
    let mut group = c.benchmark_group("hub");
    group.sample_size(20);
    for subscribers in [1, 100, 1_000] {
        let room = Room::open(subscribers, Channels::One);
        for together in [1, 64] {
            group.throughput(Throughput::Elements(subscribers as u64));
            group.bench_function(format!("a message to {subscribers} sockets, {together} at a time"), |b| {
                b.iter_custom(|messages| room.publish(messages, together));
            });
        }
    }
    for (channels, what) in [(Channels::Two, "two channels"), (Channels::Own, "one channel and their own")] {
        let room = Room::open(1_000, channels);
        for together in [1, 64] {
            group.throughput(Throughput::Elements(1_000));
            group.bench_function(format!("1000 sockets on {what}, {together} at a time"), |b| {
                b.iter_custom(|messages| room.publish(messages, together));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    targets = outbox, hub
}
criterion_main!(benches);
