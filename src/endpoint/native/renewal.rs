use crate::auth::Identity;
use crate::hub::Connection;
use crate::message::{ChannelName, Sender};
use crate::protocol::native::{RenewalError, RenewalRequest, close, encode_renewal};
use crate::telemetry::{Reason, logged};
use crate::unix_time::unix_time;

use super::service::NativeService;

/// Goes on with a new token of the same user on the same channel, and answers the client. Returns until when the client may stay, in
/// Unix seconds, if that has changed. A refusal changes nothing.
pub(super) fn renew(
    service: &NativeService,
    connection: &Connection,
    sender: &mut Sender,
    request: &RenewalRequest<'_>,
) -> Option<u64> {
    let (outbox, channel) = (connection.outbox(), connection.channels().first());
    let renewed = verify(service, channel, sender, request);
    outbox.push(
        &encode_renewal(renewed.as_ref().map(drop).map_err(|reason| *reason)),
        connection.outbox_bytes(),
    );
    let (connection, channel) = (connection.id(), channel.map(ChannelName::as_str));
    let metrics = &service.context.metrics;
    match renewed {
        Ok(identity) => {
            outbox.set_token(identity.fingerprint());
            if service.authenticator.is_revoked(&identity, unix_time().as_secs()) {
                // Since it was verified.
                outbox.close(&close::REVOKED);
            }
            metrics.tokens.renewed.inc();
            tracing::info!(connection, user = logged(identity.id.form()), channel, "token renewed");
            *sender = Sender { name: identity.name, id: identity.id };
            service.close_on_expiry.then_some(identity.expires_at)
        }
        Err(reason) => {
            metrics.tokens.renewals_refused.get_or_create(&Reason::new(reason.code())).inc();
            tracing::info!(
                connection,
                user = logged(sender.id.form()),
                channel,
                reason = reason.code(),
                detail = %reason,
                "token renewal refused"
            );
            None
        }
    }
}

fn verify(
    service: &NativeService,
    channel: Option<&ChannelName>,
    sender: &Sender,
    request: &RenewalRequest<'_>,
) -> Result<Identity, RenewalError> {
    let identity = service.authenticator.verify(&request.token()?, unix_time().as_secs())?;
    let is_same = identity.id == sender.id && channel == Some(&identity.channel);
    if is_same { Ok(identity) } else { Err(RenewalError::OtherIdentity) }
}
