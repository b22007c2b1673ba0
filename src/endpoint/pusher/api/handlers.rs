use std::sync::Arc;

use futures_util::future::join_all;

use crate::broker::{PublishError, StoreError};
use crate::channels::{Channels, HistoryPage};
use crate::history::{Content, Since};
use crate::message::{Broadcast, ChannelInfo, ChannelName};
use crate::protocol::pusher::http::{
    ChannelReport, Command, HistoryMessage, HistoryReport, HttpError, Info, Trigger, batch, channel,
    channels, connections, empty, history, triggered, users,
};
use crate::protocol::pusher::{App, Channel};
use crate::trace_context::TraceContext;

/// Carries out a call of an app. Returns the body of the response.
pub(super) async fn handle(
    engine: &Channels,
    app: &App,
    command: Command,
    trace: Option<TraceContext>,
) -> Result<Vec<u8>, HttpError> {
    let id = app.credentials.id();
    match command {
        Command::Trigger(trigger) => {
            let (asked, info) = (trigger.channels.clone(), trigger.info);
            publish(engine, id, vec![trigger], trace).await.map_err(unavailable)?;
            if info.position {
                engine.caught_up().await;
            }
            let found = asked.iter().map(|channel| (channel, report(engine, app, channel, info)));
            Ok(triggered(found, info))
        }
        Command::Batch(triggers) => {
            let asked: Vec<(Channel, Info)> = triggers
                .iter()
                .filter_map(|trigger| Some((trigger.channels.first()?.clone(), trigger.info)))
                .collect();
            publish(engine, id, triggers, trace).await.map_err(unavailable)?;
            if asked.iter().any(|(_, info)| info.position) {
                engine.caught_up().await;
            }
            let found =
                asked.iter().map(|(channel, info)| (channel, report(engine, app, channel, *info), *info));
            Ok(batch(found))
        }
        Command::Channels { prefix, info } => {
            let found = engine.channels(id, &prefix).await;
            let found = found.iter().map(|(name, subscribers)| {
                (
                    name.as_str(),
                    ChannelReport { subscribers: *subscribers, position: position(engine, app, name, info) },
                )
            });
            Ok(channels(found, info))
        }
        Command::Channel { channel: asked, info } => {
            let cached = if info.cache { engine.last_event(id, asked.name()) } else { None };
            let subscribers = engine.channel(id, asked.name());
            let position = position(engine, app, asked.name(), info);
            if info.position && position.is_none() {
                return Err(unreadable(StoreError::Unreachable));
            }
            Ok(channel(&asked, ChannelReport { subscribers, position }, cached.as_ref(), info))
        }
        Command::Users { channel } => Ok(users(&engine.users(id, channel.name()))),
        Command::History { channel, since, limit } => {
            let since = since.map(|since| since.parse()).transpose().map_err(|_| {
                HttpError::new(
                    400,
                    "bad_request",
                    "since must be a position of this channel, such as \"9f3c20-17\"",
                )
            })?;
            let page = engine.history(id, channel.name(), since, limit).await.map_err(unreadable)?;
            Ok(history(&history_report(&page)))
        }
        Command::Terminate { user } => {
            engine.terminate(id, &user).await.map_err(unavailable)?;
            Ok(empty())
        }
        Command::Connections => Ok(connections(engine.connections(id))),
    }
}

/// Publishes all events before it waits for the first receipt, so that a batch costs one round trip. Their order is kept.
async fn publish(
    engine: &Channels,
    app: &Arc<str>,
    triggers: Vec<Trigger>,
    trace: Option<TraceContext>,
) -> Result<(), PublishError> {
    let accepted: Vec<_> = triggers
        .into_iter()
        .map(|mut trigger| {
            let key = trigger.idempotency_key.take();
            let event = Broadcast { trace: trace.map(Box::new), ..trigger.into_broadcast(app) };
            engine.broadcast(&event, key.as_deref())
        })
        .collect();
    join_all(accepted).await.into_iter().try_for_each(|accepted| accepted.map(drop))
}

/// Looks up only what was asked for.
fn report(engine: &Channels, app: &App, channel: &Channel, info: Info) -> ChannelReport {
    let is_counted = info.user_count || info.subscription_count;
    let subscribers = if is_counted {
        engine.channel(app.credentials.id(), channel.name())
    } else {
        ChannelInfo::default()
    };
    ChannelReport { subscribers, position: position(engine, app, channel.name(), info) }
}

fn position(engine: &Channels, app: &App, channel: &ChannelName, info: Info) -> Option<String> {
    let is_wanted = info.position && app.rules.has_history(channel);
    is_wanted.then(|| engine.position(app.credentials.id(), channel))?.as_ref().map(Since::to_string)
}

fn history_report(page: &HistoryPage) -> HistoryReport<'_> {
    let messages = page.entries.iter().filter_map(|entry| {
        // A channel of an app has events of an app only.
        let Content::App(event) = &entry.content else { return None };
        Some(HistoryMessage {
            id: entry.position.to_string(),
            event: &event.event,
            data: &event.data,
            time: entry.at,
            user_id: event.user_id.as_ref(),
        })
    });
    HistoryReport {
        messages: messages.collect(),
        position: page.position.to_string(),
        more: page.has_more,
        gap: page.is_gap,
    }
}

fn unavailable(refused: PublishError) -> HttpError {
    HttpError::new(503, "unavailable", format!("{refused}: send it again"))
}

fn unreadable(error: StoreError) -> HttpError {
    HttpError::new(503, "unavailable", format!("{error}: ask again"))
}
