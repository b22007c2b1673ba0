use crate::auth::Identity;
use crate::hub::{Connection, ConnectionId};
use crate::message::{ChannelName, Renewal, Sender, Signal, SocketId};
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
    let channel = connection.channels().first();
    match verify(service, channel, sender, request) {
        Ok(identity) => go_on(service, connection, sender, identity),
        Err(reason) => {
            let outbox = connection.outbox();
            let answer = encode_renewal(Err(reason), outbox.format().encoding);
            outbox.push(&answer, connection.outbox_bytes());
            report_refused(service, Some(connection.id()), channel, sender, reason);
            None
        }
    }
}

/// Passes a new token of the same user on the same channel on to a stream, which goes on with it, on whichever node it is. The stream
/// answers; only a refusal is answered here.
pub(super) async fn renew_stream(
    service: &NativeService,
    channel: &ChannelName,
    sender: &Sender,
    connection: Option<SocketId>,
    request: &RenewalRequest<'_>,
) -> Result<(), RenewalError> {
    let renewed = match (verify(service, Some(channel), sender, request), connection) {
        (Err(reason), _) => Err(reason),
        (Ok(_), None) => Err(RenewalError::UnknownConnection),
        (Ok(identity), Some(connection)) => pass_on(service, connection, identity).await,
    };
    renewed.inspect_err(|reason| report_refused(service, None, Some(channel), sender, *reason))
}

/// Goes on with a token that has been passed on to this stream. One of somebody else is ignored: its request has named a stream that is
/// not its own.
pub(super) fn accept(
    service: &NativeService,
    connection: &Connection,
    sender: &mut Sender,
    Renewal { channel, user: Sender { name, id }, expires_at, issued_at, jti, .. }: Renewal,
) -> Option<u64> {
    let own = connection.channels().first();
    if own != Some(&channel) || id != sender.id {
        let reason = RenewalError::OtherIdentity;
        report_refused(service, Some(connection.id()), own, sender, reason);
        return None;
    }
    go_on(service, connection, sender, Identity { id, name, channel, expires_at, issued_at, jti })
}

fn go_on(
    service: &NativeService,
    connection: &Connection,
    sender: &mut Sender,
    identity: Identity,
) -> Option<u64> {
    let outbox = connection.outbox();
    outbox.push(&encode_renewal(Ok(()), outbox.format().encoding), connection.outbox_bytes());
    outbox.set_token(identity.fingerprint());
    if service.authenticator.is_revoked(&identity, unix_time().as_secs()) {
        // Since it was verified.
        outbox.close(&close::REVOKED);
    }
    service.context.metrics.tokens.renewed.inc();
    tracing::info!(
        connection = connection.id(),
        user = logged(identity.id.form()),
        channel = identity.channel.as_str(),
        "token renewed"
    );
    *sender = Sender { name: identity.name, id: identity.id };
    service.close_on_expiry.then_some(identity.expires_at)
}

fn report_refused(
    service: &NativeService,
    connection: Option<ConnectionId>,
    channel: Option<&ChannelName>,
    sender: &Sender,
    reason: RenewalError,
) {
    let refused = &service.context.metrics.tokens.renewals_refused;
    refused.get_or_create(&Reason::new(reason.code())).inc();
    tracing::info!(
        connection,
        user = logged(sender.id.form()),
        channel = channel.map(ChannelName::as_str),
        reason = reason.code(),
        detail = %reason,
        "token renewal refused"
    );
}

async fn pass_on(
    service: &NativeService,
    connection: SocketId,
    Identity { id, name, channel, expires_at, issued_at, jti }: Identity,
) -> Result<(), RenewalError> {
    let renewal = Renewal { connection, channel, user: Sender { name, id }, expires_at, issued_at, jti };
    if let Some(own) = service.channels.connection(connection) {
        // Also while the broker is unavailable.
        let is_here = service.context.streams.renew(own, renewal);
        return if is_here { Ok(()) } else { Err(RenewalError::UnknownConnection) };
    }
    let signal = Signal::Renew(Box::new(renewal));
    let published = service.broker.publish_and_wait(signal.into()).await;
    published.map(drop).map_err(|_| RenewalError::Unavailable)
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
