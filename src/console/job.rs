use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::ConsoleState;
use crate::message::{ChannelName, Event};
use crate::transport::{Accepted, ApiError};

const STEPS: u32 = 20;
const STEP: Duration = Duration::from_millis(300);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobRequest {
    channel: String,
}

/// `POST /console/job`: starts a job of 20 steps in 6 seconds that publishes its progress on the channel.
pub(super) async fn start(
    State(state): State<ConsoleState>,
    request: Result<Json<JobRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<Accepted>), ApiError> {
    let Json(JobRequest { channel }) = request?;
    let channel = ChannelName::new(&channel)?;
    let Ok(permit) = state.jobs.clone().try_acquire_owned() else {
        return Err(ApiError::rate_limited("too many sample jobs are running"));
    };
    tokio::spawn(async move {
        run(&state, channel).await;
        drop(permit);
    });
    Ok((StatusCode::ACCEPTED, Json(Accepted::new())))
}

async fn run(state: &ConsoleState, channel: ChannelName) {
    let mut ticks = interval(STEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    for cursor in 1..=STEPS {
        ticks.tick().await;
        let event = Event::new(channel.clone(), state.system.clone(), report(cursor));
        // Not retried: the next report supersedes it.
        if let Err(error) = state.broker.publish_and_wait(event.into()).await {
            tracing::debug!(%error, cursor, "report of the sample job not published");
        }
    }
}

fn report(cursor: u32) -> Bytes {
    let info = json!({
        "type": "sample_job_progress",
        "title": "Sample job",
        "detail": {"cursor": cursor, "total": STEPS},
    });
    json!({ "info": info }).to_string().into()
}
