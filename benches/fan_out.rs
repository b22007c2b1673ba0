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
use yamabiko::hub::{Connection, Hub, Outbox, Sink};
use yamabiko::message::{Audience, ChannelName, Frame};
use yamabiko::telemetry::Metrics;

const LIMIT: usize = 1 << 20;
const TEXT: [u8; 128] = [b'x'; 128];

/// A connection that always takes everything.
struct Open;

impl Sink for Open {
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
    let outbox = Outbox::new();
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
        b.iter_batched(|| (), |()| Outbox::<Open>::new(), BatchSize::SmallInput);
    });
    group.finish();
}

/// A hub with one shard, and subscribers whose other ends read all that comes and count it.
struct Room {
    runtime: Runtime,
    hub: Arc<Hub>,
    channel: ChannelName,
    frame: Frame,
    hold: Arc<Semaphore>,
    subscribers: usize,
    readers: Arc<Readers>,
    _connections: Vec<Connection>,
}

#[derive(Default)]
struct Readers {
    bytes: AtomicUsize,
    awaited: AtomicUsize,
    there: Notify,
}

impl Room {
    fn open(subscribers: usize) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let readers = Arc::new(Readers::default());
        let channel = ChannelName::new("chat:room1").unwrap();
        let (hub, connections) = runtime.block_on(async {
            let hub = Hub::start(NonZeroUsize::MIN, LIMIT, &Arc::new(Metrics::new()));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut connections = Vec::new();
            for user in 0..subscribers {
                let reading = TcpStream::connect(address).await.unwrap();
                let (writing, _) = listener.accept().await.unwrap();
                writing.set_nodelay(true).unwrap();
                let outbox = Arc::new(Outbox::new());
                outbox.attach(writing);
                let mut connection = hub.connect(outbox);
                connection.join(&channel, &i64::try_from(user).unwrap().into());
                connections.push(connection);
                tokio::spawn(read(reading, readers.clone()));
            }
            (hub, connections)
        });
        Self {
            runtime,
            hub,
            channel,
            frame: Frame::text(&[&TEXT]),
            hold: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            subscribers,
            readers,
            _connections: connections,
        }
    }

    /// Publishes so many messages, `together` at a time, and waits each time until all have everything.
    fn publish(&self, messages: u64, together: u64) -> Duration {
        self.runtime.block_on(async {
            let begun = Instant::now();
            let mut left = messages;
            while left > 0 {
                let now = left.min(together);
                left -= now;
                let bytes = usize::try_from(now).unwrap() * self.subscribers * self.frame.bytes().len();
                self.readers.awaited.fetch_add(bytes, Ordering::SeqCst);
                for _ in 0..now {
                    let hold = self.hold.clone().try_acquire_owned().unwrap();
                    self.hub.publish(&self.channel, hold, || Some((Audience::Everyone, self.frame.clone())));
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
        let room = Room::open(subscribers);
        for together in [1, 64] {
            group.throughput(Throughput::Elements(subscribers as u64));
            group.bench_function(format!("a message to {subscribers} sockets, {together} at a time"), |b| {
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
