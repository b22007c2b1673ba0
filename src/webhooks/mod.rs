//! Tells applications what happens on their channels.
//!
//! Of all nodes, one is responsible for an event and queues it for each webhook that wants it: with Redis in a lane there, without in
//! memory. A lane is a stream, which one node at a time empties: it holds a lease, and another one takes the lane over if it crashes. One
//! task per webhook delivers the events, signed, one request at a time and in order.

mod active;
mod app_events;
mod app_webhook;
mod clock;
mod departures;
mod event;
mod event_queue;
mod gate;
mod lane_emptier;
mod lane_events;
mod lane_filler;
mod lanes;
mod lease;
mod native;
mod pending_events;
mod queue;
mod queued;
mod ready;
mod registry;
mod request_signer;
mod retry;
mod settings;
mod webhook;

pub use active::ActiveWebhooks;
pub use event::WebhookEvent;
pub use gate::{Gate, GateRefusal, Gates, WaitingRoom};
pub use native::{NativeEventKind, NativeEvents, StreamQueue};
pub use registry::Webhooks;
pub use settings::{EventsSettings, NativeWebhookSettings};

#[cfg(test)]
mod tests;
