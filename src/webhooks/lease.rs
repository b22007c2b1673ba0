use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Whether this node delivers the events of a webhook: without Redis always, otherwise while it holds the lease of their lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Lease {
    /// Changes when other events have taken the place of those in memory.
    pub(super) term: u64,
    pub(super) validity: Validity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Validity {
    #[default]
    Never,
    Until(Instant),
    Always,
}

impl Lease {
    pub(super) const ALWAYS: Self = Self { term: 0, validity: Validity::Always };

    pub(super) fn is_valid(self) -> bool {
        match self.validity {
            Validity::Never => false,
            Validity::Until(end) => Instant::now() < end,
            Validity::Always => true,
        }
    }
}

/// Waits until a lease of this term is not valid any more.
pub(super) async fn expired(mut lease: watch::Receiver<Lease>, term: u64) {
    loop {
        let current = *lease.borrow_and_update();
        if current.term != term || !current.is_valid() {
            return;
        }
        let changed = match current.validity {
            Validity::Until(end) => tokio::select! {
                () = sleep_until(end) => Ok(()),
                changed = lease.changed() => changed,
            },
            _ => lease.changed().await,
        };
        if changed.is_err() {
            // The sender is gone: nothing changes any more.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_renewed_goes_on_and_one_of_another_term_does_not() {
        let start = Instant::now();
        let until = |seconds: u64| Validity::Until(start + Duration::from_secs(seconds));
        let lease = watch::Sender::new(Lease { term: 1, validity: until(5) });
        let end = tokio::spawn(expired(lease.subscribe(), 1));
        tokio::time::sleep(Duration::from_secs(4)).await;
        lease.send_replace(Lease { term: 1, validity: until(9) });
        end.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 9);
        assert!(!lease.borrow().is_valid());
        lease.send_replace(Lease { term: 2, validity: Validity::Always });
        expired(lease.subscribe(), 1).await;
        assert_eq!(start.elapsed().as_secs(), 9);
    }
}
