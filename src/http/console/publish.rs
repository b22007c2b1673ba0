use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::ConsoleState;
use crate::http::answer::{Accepted, Failure, accepted};
use crate::message::{ChannelName, Event, Sender, UserId};

/// What Laravel publishes over Redis.
#[derive(Deserialize)]
pub(super) struct Publication {
    channel: String,
    data: Box<RawValue>,
    #[serde(default)]
    sender: Option<Speaker>,
}

#[derive(Deserialize)]
struct Speaker {
    name: String,
    id: UserId,
}

/// `POST /console/publish`: publishes as the application does.
pub(super) async fn publish(
    State(state): State<ConsoleState>,
    publication: Result<Json<Publication>, JsonRejection>,
) -> Result<Json<Accepted>, Failure> {
    let Json(Publication { channel, data, sender }) = publication?;
    let channel = ChannelName::new(&channel)?;
    if !data.get().starts_with('{') {
        return Err(Failure::invalid("data must be a JSON object"));
    }
    let sender = sender.map_or(state.system, |Speaker { name, id }| Sender { name: name.into(), id });
    let data = Bytes::from(data.get().to_owned());
    accepted(&state.broker, Event { channel, sender, data }).await?;
    Ok(Json(Accepted::new()))
}
