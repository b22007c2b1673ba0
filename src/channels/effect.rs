//! The effects of a state change, and how they are performed.

use std::sync::Arc;

use super::Channels;
use super::pending::{Completion, JoinError, Joined, Termination};
use super::reserved_channels::watched;
use super::topics::PendingTopic;
use crate::hub::InFlight;
use crate::message::{Audience, ChannelName, Encoding, Frame, Member, Notice, UserId};
use crate::webhooks::WebhookEvent;

/// An action to perform after a state change, when the state is unlocked.
pub(super) enum Effect {
    /// Notify subscribers of this node of a change.
    MemberAdded {
        app: Arc<str>,
        channel: ChannelName,
        member: Member,
    },
    MemberRemoved {
        app: Arc<str>,
        channel: ChannelName,
        member: Member,
    },
    Count {
        app: Arc<str>,
        channel: ChannelName,
        count: u64,
    },
    UserOnline {
        app: Arc<str>,
        user: UserId,
    },
    UserOffline {
        app: Arc<str>,
        user: UserId,
    },
    /// Notify the application of a change.
    Webhook {
        app: Arc<str>,
        event: WebhookEvent,
    },
    /// Call the completion of a waiting connection.
    Complete(Completion, Result<Joined, JoinError>),
    /// Terminate a connection.
    Terminate(Termination),
    /// A connection has left a channel: drop the completions that waited for its topic.
    Drop(Option<PendingTopic>),
    /// A message of this node has come back.
    Echoed,
    LogLost,
    WakeOutbound,
    WakeSweep,
}

impl Channels {
    pub(super) fn perform(&self, effect: Effect) {
        match effect {
            Effect::MemberAdded { app, channel, member } => {
                self.publish_encoded(&app, &channel, |encoding| match self.member_encoders.get(&app) {
                    Some(encoder) => encoder.member_added(&member, encoding),
                    None => self.dialect.encode(&Notice::MemberAdded { channel: &channel, member: &member }),
                });
            }
            Effect::MemberRemoved { app, channel, member } => {
                self.publish_encoded(&app, &channel, |encoding| match self.member_encoders.get(&app) {
                    Some(encoder) => encoder.member_removed(&member, encoding),
                    None => {
                        self.dialect.encode(&Notice::MemberRemoved { channel: &channel, member: &member })
                    }
                });
            }
            Effect::Count { app, channel, count } => {
                let notice = Notice::SubscriptionCount { channel: &channel, count };
                self.publish_notice(&ChannelName::scoped(&app, channel.as_str()), &notice);
            }
            Effect::UserOnline { app, user } => {
                self.publish_notice(&watched(&app, &user), &Notice::UserOnline(&user));
            }
            Effect::UserOffline { app, user } => {
                self.publish_notice(&watched(&app, &user), &Notice::UserOffline(&user));
            }
            Effect::Webhook { app, event } => self.webhooks.push(&app, &event),
            Effect::Complete(completion, result) => completion(result),
            Effect::Terminate(terminate) => terminate(),
            Effect::Drop(waiting) => {
                drop(waiting);
                self.outbound.notify_one();
            }
            Effect::Echoed => self.echoed.notify_one(),
            Effect::LogLost => tracing::warn!("node lost: its connections and members are removed"),
            Effect::WakeOutbound => self.outbound.notify_one(),
            Effect::WakeSweep => self.unswept.notify_one(),
        }
    }

    fn publish_encoded(&self, app: &str, channel: &ChannelName, encode: impl Fn(Encoding) -> Frame) {
        let channel = ChannelName::scoped(app, channel.as_str());
        self.hub
            .publish(&channel, InFlight::default(), |encoding| Some((Audience::Everyone, encode(encoding))));
    }

    fn publish_notice(&self, channel: &ChannelName, notice: &Notice<'_>) {
        self.hub.publish(channel, InFlight::default(), |_| {
            Some((Audience::Everyone, self.dialect.encode(notice)))
        });
    }
}
