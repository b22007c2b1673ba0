use std::sync::Arc;

use futures_util::future::join_all;

use crate::broker::PublishError;
use crate::cluster::Cluster;
use crate::protocol::pusher::Channel;
use crate::protocol::pusher::http::{
    ChannelInfo, Command, HttpError, Info, Trigger, batch, channel, channels, connections, empty, triggered,
    users,
};

/// Carries out a call of an app. Returns the body of the response.
pub(super) async fn handle(
    cluster: &Cluster,
    app: &Arc<str>,
    command: Command,
) -> Result<Vec<u8>, HttpError> {
    match command {
        Command::Trigger(trigger) => {
            let (asked, info) = (trigger.channels.clone(), trigger.info);
            cluster.broadcast(&trigger.into_broadcast(app)).await.map_err(unavailable)?;
            let found = asked.iter().map(|channel| (channel, about(cluster, app, channel, info)));
            Ok(triggered(found, info))
        }
        Command::Batch(triggers) => {
            let asked: Vec<(Channel, Info)> = triggers
                .iter()
                .filter_map(|trigger| Some((trigger.channels.first()?.clone(), trigger.info)))
                .collect();
            publish(cluster, app, triggers).await.map_err(unavailable)?;
            let found =
                asked.iter().map(|(channel, info)| (channel, about(cluster, app, channel, *info), *info));
            Ok(batch(found))
        }
        Command::Channels { prefix, info } => {
            let found = cluster.channels(app, &prefix).await;
            Ok(channels(found.iter().map(|(name, about)| (name.as_str(), *about)), info))
        }
        Command::Channel { channel: asked, info } => {
            let cached = if info.cache { cluster.last_event(app, asked.name()) } else { None };
            Ok(channel(&asked, cluster.channel(app, asked.name()), cached.as_ref(), info))
        }
        Command::Users { channel } => Ok(users(&cluster.users(app, channel.name()))),
        Command::Terminate { user } => {
            cluster.terminate(app, &user).await.map_err(unavailable)?;
            Ok(empty())
        }
        Command::Connections => Ok(connections(cluster.connections(app))),
    }
}

/// Publishes all events before it waits for the first receipt, so that a batch costs one round trip. Their order is kept.
async fn publish(cluster: &Cluster, app: &Arc<str>, triggers: Vec<Trigger>) -> Result<(), PublishError> {
    let accepted: Vec<_> =
        triggers.into_iter().map(|trigger| cluster.broadcast(&trigger.into_broadcast(app))).collect();
    join_all(accepted).await.into_iter().collect()
}

/// Looks up only what was asked for.
fn about(cluster: &Cluster, app: &str, channel: &Channel, info: Info) -> ChannelInfo {
    if info.is_empty() { ChannelInfo::default() } else { cluster.channel(app, channel.name()) }
}

fn unavailable(refused: PublishError) -> HttpError {
    HttpError::new(503, "unavailable", format!("{refused}: send it again"))
}
