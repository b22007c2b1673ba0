use std::sync::Arc;

use futures_util::future::join_all;

use crate::broker::PublishError;
use crate::channels::Channels;
use crate::message::ChannelInfo;
use crate::protocol::pusher::Channel;
use crate::protocol::pusher::http::{
    Command, HttpError, Info, Trigger, batch, channel, channels, connections, empty, triggered, users,
};

/// Carries out a call of an app. Returns the body of the response.
pub(super) async fn handle(
    engine: &Channels,
    app: &Arc<str>,
    command: Command,
) -> Result<Vec<u8>, HttpError> {
    match command {
        Command::Trigger(trigger) => {
            let (asked, info) = (trigger.channels.clone(), trigger.info);
            engine.broadcast(&trigger.into_broadcast(app)).await.map_err(unavailable)?;
            let found = asked.iter().map(|channel| (channel, about(engine, app, channel, info)));
            Ok(triggered(found, info))
        }
        Command::Batch(triggers) => {
            let asked: Vec<(Channel, Info)> = triggers
                .iter()
                .filter_map(|trigger| Some((trigger.channels.first()?.clone(), trigger.info)))
                .collect();
            publish(engine, app, triggers).await.map_err(unavailable)?;
            let found =
                asked.iter().map(|(channel, info)| (channel, about(engine, app, channel, *info), *info));
            Ok(batch(found))
        }
        Command::Channels { prefix, info } => {
            let found = engine.channels(app, &prefix).await;
            Ok(channels(found.iter().map(|(name, about)| (name.as_str(), *about)), info))
        }
        Command::Channel { channel: asked, info } => {
            let cached = if info.cache { engine.last_event(app, asked.name()) } else { None };
            Ok(channel(&asked, engine.channel(app, asked.name()), cached.as_ref(), info))
        }
        Command::Users { channel } => Ok(users(&engine.users(app, channel.name()))),
        Command::Terminate { user } => {
            engine.terminate(app, &user).await.map_err(unavailable)?;
            Ok(empty())
        }
        Command::Connections => Ok(connections(engine.connections(app))),
    }
}

/// Publishes all events before it waits for the first receipt, so that a batch costs one round trip. Their order is kept.
async fn publish(engine: &Channels, app: &Arc<str>, triggers: Vec<Trigger>) -> Result<(), PublishError> {
    let accepted: Vec<_> =
        triggers.into_iter().map(|trigger| engine.broadcast(&trigger.into_broadcast(app))).collect();
    join_all(accepted).await.into_iter().collect()
}

/// Looks up only what was asked for.
fn about(engine: &Channels, app: &str, channel: &Channel, info: Info) -> ChannelInfo {
    if info.is_empty() { ChannelInfo::default() } else { engine.channel(app, channel.name()) }
}

fn unavailable(refused: PublishError) -> HttpError {
    HttpError::new(503, "unavailable", format!("{refused}: send it again"))
}
