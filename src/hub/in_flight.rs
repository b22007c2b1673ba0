use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::telemetry::{ChannelMetrics, DeliveryTimer, Span};

/// What a message holds until its last copy is written: its share of the broker's byte budget, and what measures and traces it, if
/// anything does.
#[derive(Debug, Default)]
pub struct InFlight {
    permit: Option<OwnedSemaphorePermit>,
    timer: Option<Arc<DeliveryTimer>>,
}

impl InFlight {
    #[must_use]
    pub fn new(permit: OwnedSemaphorePermit, timer: Option<DeliveryTimer>) -> Self {
        Self { permit: Some(permit), timer: timer.map(Arc::new) }
    }

    /// Takes one of this many equal shares of the budget.
    #[must_use]
    pub fn split(&mut self, shares: usize) -> Self {
        let share = |permit: &mut OwnedSemaphorePermit| permit.split(permit.num_permits() / shares.max(1));
        Self { permit: self.permit.as_mut().and_then(share), timer: self.timer.clone() }
    }

    /// Takes more of the budget, as far as there is room: waiting is not possible here. If not enough is left, the broker accepts
    /// nothing until it is.
    pub fn grow(&mut self, bytes: usize) {
        let Some(permit) = &mut self.permit else { return };
        let budget = permit.semaphore().clone();
        let wanted = u32::try_from(bytes.min(budget.available_permits())).ok();
        if let Some(more) = wanted.and_then(|wanted| budget.try_acquire_many_owned(wanted).ok()) {
            permit.merge(more);
        }
    }

    /// The message is for these channels.
    pub fn set_channels(&self, channels: Arc<ChannelMetrics>) {
        if let Some(timer) = &self.timer {
            timer.set_channels(channels);
        }
    }

    /// The message is traced. Its span ends with the last copy.
    pub fn set_span(&mut self, span: Span) {
        self.timer.get_or_insert_default().set_span(span);
    }

    pub(super) fn on_subscribers(&self) {
        if let Some(timer) = &self.timer {
            timer.on_subscribers();
        }
    }
}

impl From<OwnedSemaphorePermit> for InFlight {
    fn from(permit: OwnedSemaphorePermit) -> Self {
        Self { permit: Some(permit), timer: None }
    }
}

impl From<Option<OwnedSemaphorePermit>> for InFlight {
    fn from(permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { permit, timer: None }
    }
}
