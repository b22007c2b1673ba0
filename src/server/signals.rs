use bytes::Bytes;

use crate::hub::Hub;
use crate::message::{ChannelName, Signal};
use crate::protocol::native::close;
use crate::telemetry::logged;

/// Does on this node what nodes tell each other to do.
pub(super) fn obey(signal: &Bytes, hub: &Hub) {
    match Signal::decode(signal) {
        Ok(Signal::Disconnect { user, channel }) => {
            tracing::info!(
                user = logged(user.form()),
                channel = channel.as_ref().map(ChannelName::as_str),
                "disconnecting a user"
            );
            hub.close_user(&user, channel.as_ref(), &close::DISCONNECTED);
        }
        // Nodes of several versions may run side by side.
        Err(error) => tracing::debug!(%error, "a signal was ignored"),
    }
}
