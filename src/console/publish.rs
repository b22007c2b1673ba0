use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::ConsoleState;
use crate::message::{ChannelName, Event, Sender, UserId};
use crate::protocol::native;
use crate::transport::ApiError;

/// A message as Laravel publishes it over Redis.
#[derive(Deserialize)]
pub(super) struct Publication {
    channel: String,
    data: Box<RawValue>,
    #[serde(default)]
    sender: Option<SenderFields>,
}

#[derive(Deserialize)]
struct SenderFields {
    name: String,
    #[serde(deserialize_with = "UserId::deserialize_bounded")]
    id: UserId,
}

#[derive(Serialize)]
pub(super) struct Published {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<LeftOut>,
}

/// The keys of `data` that are not delivered, because the kind's `fields` do not list them.
#[derive(Serialize)]
struct LeftOut {
    kind: String,
    fields: Vec<String>,
    keys: Vec<String>,
    /// The same as a sentence.
    message: String,
}

impl From<native::OmittedKeys> for LeftOut {
    fn from(left_out: native::OmittedKeys) -> Self {
        let message = left_out.to_string();
        let native::OmittedKeys { kind, fields, keys } = left_out;
        Self { kind, fields, keys, message }
    }
}

/// `POST /console/publish`: publishes a message as the application does.
pub(super) async fn publish(
    State(state): State<ConsoleState>,
    publication: Result<Json<Publication>, JsonRejection>,
) -> Result<Json<Published>, ApiError> {
    let Json(Publication { channel, data, sender }) = publication?;
    let channel = ChannelName::new(&channel)?;
    if !data.get().starts_with('{') {
        return Err(ApiError::invalid("data must be a JSON object"));
    }
    let sender = sender.map_or(state.system, |SenderFields { name, id }| Sender { name: name.into(), id });
    let data = Bytes::from(data.get().to_owned());
    let left_out =
        state.native.preview(&channel, &data).map_err(|invalid| ApiError::invalid(&invalid.to_string()))?;
    let event = Event::new(channel, sender, data);
    state
        .broker
        .publish_and_wait(event.into())
        .await
        .map_err(|refused| ApiError::unavailable(refused.to_string()))?;
    Ok(Json(Published { ok: true, left_out: left_out.map(LeftOut::from) }))
}
