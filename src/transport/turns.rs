use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// Lets a few new connections at a time have their first request handled.
///
/// After a restart or an outage, thousands of clients send their handshake in the same moment. The runtime runs what is ready in its order,
/// and looks for what has arrived on sockets only after some dozens of tasks, or when none is left: without turns, a message on an
/// established connection would wait for most of the handshakes that were there before it.
#[derive(Debug)]
pub(super) struct Turns {
    left: Semaphore,
    /// How many have had their turn since the runtime looked at its sockets.
    taken: AtomicUsize,
}

/// The first turn since the runtime looked at its sockets. The next ones begin when it is dropped.
struct FirstTurn<'a>(&'a Turns);

/// For each core.
const AT_A_TIME: usize = 4;

impl Turns {
    pub(super) fn new() -> Self {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        Self::of(AT_A_TIME * cores)
    }

    fn of(count: usize) -> Self {
        Self { left: Semaphore::new(count), taken: AtomicUsize::new(0) }
    }

    /// Runs a future whose first step waits for its turn.
    pub(super) async fn take<F: Future>(&self, future: F) -> F::Output {
        // The semaphore is never closed.
        if let Ok(turn) = self.left.acquire().await {
            turn.forget();
        }
        let first_turn = (self.taken.fetch_add(1, Ordering::Relaxed) == 0).then(|| FirstTurn(self));
        let mut future = pin!(future);
        if let Some(turn) = first_turn {
            let step = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
            // Continues when the runtime has looked at its sockets.
            yield_now().await;
            drop(turn);
            if let Poll::Ready(output) = step {
                return output;
            }
        }
        future.await
    }
}

impl Drop for FirstTurn<'_> {
    fn drop(&mut self) {
        self.0.left.add_permits(self.0.taken.swap(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn only_a_few_turns_begin_before_the_runtime_looks_at_its_sockets() {
        let (turns, begun) = (Arc::new(Turns::of(2)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let (turns, begun) = (turns.clone(), begun.clone());
                tokio::spawn(async move { turns.take(async { begun.fetch_add(1, Ordering::Relaxed) }).await })
            })
            .collect();
        for looks in 1..=10 {
            yield_now().await;
            let begun = begun.load(Ordering::Relaxed);
            assert!((1..=2 * looks).contains(&begun), "{begun} after {looks}");
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(begun.load(Ordering::Relaxed), 50);
    }

    #[tokio::test]
    async fn a_connection_that_is_closed_during_its_turn_does_not_keep_it() {
        let turns = Turns::of(1);
        for _ in 0..3 {
            let mut first = pin!(turns.take(pending::<()>()));
            assert!(poll_fn(|context| Poll::Ready(first.as_mut().poll(context))).await.is_pending());
            assert_eq!(turns.left.available_permits(), 0);
            first.set(turns.take(pending()));
            assert_eq!(turns.left.available_permits(), 1);
        }
        turns.take(async {}).await;
    }
}
