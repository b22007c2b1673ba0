//! Tells applications what happens on their channels.
//!
//! A queue per webhook holds the events, one task per webhook delivers them, signed, one request at a time
//! and in order. Of all nodes one is responsible for an event; [`takeover`] says what its successor repeats.

mod active;
mod delivery;
mod departures;
mod event;
mod gate;
mod http_client;
mod native;
mod queue;
mod ready;
mod request_signer;
mod settings;
mod takeover;

pub use active::ActiveWebhooks;
pub use delivery::Webhooks;
pub use event::WebhookEvent;
pub use gate::{Gate, GateRefusal, Gates, WaitingRoom};
pub use native::{EventQueue, NativeEventKind, NativeEvents};
pub use settings::{EventsSettings, NativeWebhookSettings};
pub use takeover::{TakeoverLog, is_taken_over, takeover_start};

#[cfg(test)]
mod tests;
