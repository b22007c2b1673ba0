use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::channel_metrics::ChannelMetrics;
use super::metrics::Metrics;
use super::traces::Span;

/// When a message was accepted, if this node accepted it, and when it arrived from the broker.
#[derive(Debug, Clone, Copy)]
pub struct MessageTimes {
    pub accepted: Option<Instant>,
    pub arrived: Instant,
}

impl MessageTimes {
    /// A message that arrives when it is accepted.
    #[must_use]
    pub fn now() -> Self {
        let now = Instant::now();
        Self { accepted: Some(now), arrived: now }
    }
}

/// Measures one message until its last copy is written, and has its span, if it is traced. The last one who holds it drops it then.
#[derive(Debug, Default)]
pub struct DeliveryTimer {
    /// `None`: the message is traced, but not measured.
    times: Option<MessageTimes>,
    span: OnceLock<Span>,
    channels: OnceLock<Arc<ChannelMetrics>>,
    has_subscribers: AtomicBool,
}

impl DeliveryTimer {
    #[must_use]
    pub fn start(metrics: &Metrics, times: MessageTimes) -> Self {
        // In memory, a message arrives at once.
        if let Some(accepted) = times.accepted.filter(|accepted| *accepted < times.arrived) {
            let round_trip = times.arrived.duration_since(accepted);
            metrics.latency.broker_round_trip.observe(round_trip.as_secs_f64());
        }
        Self {
            times: Some(times),
            span: OnceLock::new(),
            channels: OnceLock::new(),
            has_subscribers: AtomicBool::new(false),
        }
    }

    /// The message is traced. Its span ends with the last copy.
    pub fn set_span(&self, span: Span) {
        // A second span would end at once.
        let _ = self.span.set(span);
    }

    /// The message is for these channels.
    pub fn set_channels(&self, channels: Arc<ChannelMetrics>) {
        self.channels.get_or_init(|| channels);
    }

    /// Copies of the message will be written.
    pub fn on_subscribers(&self) {
        self.has_subscribers.store(true, Ordering::Relaxed);
    }
}

impl Drop for DeliveryTimer {
    fn drop(&mut self) {
        let has_subscribers = *self.has_subscribers.get_mut();
        let channels = self.channels.get().filter(|_| has_subscribers);
        let (Some(channels), Some(times)) = (channels, self.times) else { return };
        let now = Instant::now();
        let since = |moment: Instant| now.saturating_duration_since(moment).as_secs_f64();
        channels.delivery.observe(since(times.arrived));
        if let Some(accepted) = times.accepted {
            channels.end_to_end.observe(since(accepted));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::ChannelGroup;

    fn value(metrics: &Metrics, name: &str) -> String {
        let page = metrics.render();
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or("0").to_owned()
    }

    fn counts(metrics: &Metrics) -> [String; 3] {
        let of = |name: &str, label: &str| {
            value(metrics, &format!("yamabiko_{name}_duration_seconds_count{label}"))
        };
        let chat = "{kind=\"chat\"}";
        [of("delivery", chat), of("end_to_end", chat), of("broker_round_trip", "")]
    }

    #[test]
    fn a_message_is_measured_when_the_last_copy_is_written() {
        let metrics = Metrics::new();
        let timer = Arc::new(DeliveryTimer::start(&metrics, MessageTimes::now()));
        timer.set_channels(metrics.start_channels(&ChannelGroup::of_kind("chat")));
        timer.on_subscribers();
        let other = timer.clone();
        drop(timer);
        assert_eq!(counts(&metrics), ["0", "0", "0"]);
        drop(other);
        assert_eq!(counts(&metrics), ["1", "1", "0"]);
    }

    #[test]
    fn a_message_of_another_node_was_not_accepted_here_and_one_without_subscribers_is_not_measured() {
        let metrics = Metrics::new();
        let chat = metrics.start_channels(&ChannelGroup::of_kind("chat"));
        let arrived = Instant::now();
        for has_subscribers in [true, false] {
            let timer = DeliveryTimer::start(&metrics, MessageTimes { accepted: None, arrived });
            timer.set_channels(chat.clone());
            if has_subscribers {
                timer.on_subscribers();
            }
        }
        assert_eq!(counts(&metrics), ["1", "0", "0"]);
        let accepted = arrived.checked_sub(Duration::from_millis(20)).unwrap();
        drop(DeliveryTimer::start(&metrics, MessageTimes { accepted: Some(accepted), arrived }));
        assert_eq!(counts(&metrics), ["1", "0", "1"]);
        let seconds: f64 =
            value(&metrics, "yamabiko_broker_round_trip_duration_seconds_sum").parse().unwrap();
        assert!((seconds - 0.02).abs() < 1e-6, "{seconds}");
    }
}
