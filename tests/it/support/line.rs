//! A line between a page and the nodes, or between a node and Redis, that can fail in the middle of a frame.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::redis::RedisServer;

/// How a line treats bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Open,
    /// Nothing passes in either direction, and neither end is notified. New connections are accepted.
    Stalled,
    /// This many bytes pass every 20 ms towards the client.
    Dripping(usize),
    /// There are no connections; new ones wait until it is open again.
    Down,
}

/// How connections are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// With a reset, so that what was sent may be lost; otherwise with a proper end.
    pub resets: bool,
    /// After this many more bytes towards the client, if they come within a moment.
    pub after: usize,
}

/// Where a new connection leads. `None`: it waits.
pub type Target = dyn Fn() -> Option<SocketAddr> + Send + Sync;

/// Forwards connections until it is dropped.
pub struct Line {
    port: u16,
    state: watch::Sender<State>,
    _alive: watch::Sender<()>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    flow: Flow,
    /// The number of cuts, and how the last one is done.
    cuts: u64,
    cut: Cut,
}

/// A buffer that is small enough for a reader that stops to be noticed soon.
const BUFFER: usize = 16 << 10;

/// How long a cut waits for bytes in whose middle it is to be.
const CUT_WAITS: Duration = Duration::from_millis(300);

impl Line {
    pub async fn start(source: Ipv4Addr, target: Arc<Target>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let nothing = Cut { resets: false, after: 0 };
        let (state, watched) = watch::channel(State { flow: Flow::Open, cuts: 0, cut: nothing });
        let (alive, mut ended) = watch::channel(());
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = ended.changed() => return,
                };
                let Ok((client, _)) = accepted else { return };
                let connection = Connection { source, target: target.clone() };
                tokio::spawn(connection.run(client, watched.clone()));
            }
        });
        Self { port, state, _alive: alive }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes what becomes of the bytes, also on connections that are open.
    pub fn set(&self, flow: Flow) {
        self.state.send_modify(|state| state.flow = flow);
    }

    /// Ends all connections. New ones work.
    pub fn cut(&self, cut: Cut) {
        self.state.send_modify(|state| {
            state.cuts += 1;
            state.cut = cut;
        });
    }
}

/// A line to a Redis server, with a runtime of its own.
pub struct RedisLine {
    line: Line,
    _runtime: Runtime,
}

impl RedisLine {
    pub fn start(redis: &RedisServer) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, redis.port()));
        let line = runtime.block_on(Line::start(Ipv4Addr::LOCALHOST, Arc::new(move || Some(address))));
        Self { line, _runtime: runtime }
    }

    /// The URL of the Redis behind it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.line.port())
    }

    /// Changes what becomes of the bytes, also on connections that are open.
    pub fn set(&self, flow: Flow) {
        self.line.set(flow);
    }
}

struct Connection {
    source: Ipv4Addr,
    target: Arc<Target>,
}

impl Connection {
    async fn run(self, mut client: TcpStream, mut state: watch::Receiver<State>) {
        let Some(mut server) = self.connect(&mut state).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let cuts = state.borrow_and_update().cuts;
        let resets = tokio::select! {
            () = pump(from_client, to_server, state.clone(), None) => false,
            resets = pump_until_cut(from_server, to_client, state.clone(), cuts) => resets,
            _ = state.wait_for(|state| state.flow == Flow::Down) => true,
        };
        if resets {
            for stream in [&client, &server] {
                let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
        }
    }

    async fn connect(&self, state: &mut watch::Receiver<State>) -> Option<TcpStream> {
        loop {
            state.wait_for(|state| state.flow != Flow::Down).await.ok()?;
            if let Some(address) = (self.target)() {
                let socket = TcpSocket::new_v4().ok()?;
                socket.set_recv_buffer_size(u32::try_from(BUFFER).ok()?).ok()?;
                socket.bind(SocketAddr::from((self.source, 0))).ok()?;
                return socket.connect(address).await.ok();
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Forwards towards the client until the line is cut. Whether the cut is a reset.
async fn pump_until_cut(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    mut state: watch::Receiver<State>,
    cuts: u64,
) -> bool {
    let (budget, left) = watch::channel(None);
    let (flow, last) = (state.clone(), state.clone());
    let cut = async {
        let Ok(cut) = state.wait_for(|state| state.cuts > cuts).await.map(|state| state.cut) else {
            return false;
        };
        budget.send_replace(Some(cut.after));
        if cut.after == 0 {
            return cut.resets;
        }
        sleep(CUT_WAITS).await;
        cut.resets
    };
    tokio::pin!(cut);
    let pumped = pump(from, to, flow, Some(left));
    tokio::select! {
        biased;
        resets = &mut cut => resets,
        // The budget is spent, or one side has ended.
        () = pumped => last.borrow().cut.resets && last.borrow().cuts > cuts,
    }
}

/// Forwards until an end fails, or the budget is spent.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut state: watch::Receiver<State>,
    budget: Option<watch::Receiver<Option<usize>>>,
) {
    let mut buffer = vec![0; BUFFER];
    let mut spent = 0;
    let is_to_client = budget.is_some();
    loop {
        let Ok(flow) = state.wait_for(|state| state.flow != Flow::Stalled).await.map(|state| state.flow)
        else {
            return;
        };
        let limit = match flow {
            Flow::Dripping(bytes) if is_to_client => {
                sleep(Duration::from_millis(20)).await;
                bytes.clamp(1, BUFFER)
            }
            _ => BUFFER,
        };
        // The flow may change while nothing comes.
        let read = match timeout(Duration::from_millis(100), from.read(&mut buffer[..limit])).await {
            Ok(Ok(length @ 1..)) => length,
            Ok(_) => return,
            Err(_) => continue,
        };
        if state.wait_for(|state| state.flow != Flow::Stalled).await.is_err() {
            return;
        }
        let left = budget.as_ref().and_then(|budget| *budget.borrow());
        let passes = left.map_or(read, |left| read.min(left.saturating_sub(spent)));
        if to.write_all(&buffer[..passes]).await.is_err() || passes < read {
            return;
        }
        if left.is_some() {
            spent += passes;
        }
    }
}

mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// A server that sends `bytes`, a line to it, and a client of the line.
    async fn connected(bytes: &'static [u8]) -> (Line, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut server, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 64];
            while let Ok(length @ 1..) = server.read(&mut buffer).await {
                assert_eq!(length, 1);
                server.write_all(bytes).await.unwrap();
            }
        });
        let line = Line::start(Ipv4Addr::LOCALHOST, Arc::new(move || Some(address))).await;
        let mut client = TcpStream::connect(("127.0.0.1", line.port())).await.unwrap();
        client.write_all(b"?").await.unwrap();
        let mut answer = vec![0; bytes.len()];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, bytes);
        (line, client)
    }

    #[tokio::test]
    async fn a_cut_passes_as_many_bytes_as_it_says() {
        let (line, mut client) = connected(b"hello").await;
        line.cut(Cut { resets: false, after: 3 });
        client.write_all(b"?").await.unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"hel");
        let mut client = TcpStream::connect(("127.0.0.1", line.port())).await.unwrap();
        line.cut(Cut { resets: true, after: 0 });
        // Whether it was connected already or not, it ends.
        let _ = client.write_all(b"?").await;
        assert!(client.read_to_end(&mut rest).await.map_or(true, |_| rest == b"hel"));
    }

    #[tokio::test]
    async fn a_reset_reaches_the_client() {
        let (line, mut client) = connected(b"hello").await;
        line.cut(Cut { resets: true, after: 0 });
        let error = client.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn nothing_passes_a_stalled_line_until_it_is_open_again() {
        let (line, mut client) = connected(b"hello").await;
        line.set(Flow::Stalled);
        client.write_all(b"?").await.unwrap();
        let mut answer = [0; 5];
        assert!(timeout(Duration::from_millis(200), client.read(&mut answer)).await.is_err());
        line.set(Flow::Dripping(2));
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"hello");
        line.set(Flow::Down);
        assert!(client.read(&mut answer).await.map_or(true, |length| length == 0));
    }
}
