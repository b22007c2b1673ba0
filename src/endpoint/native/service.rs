use std::sync::Arc;

use crate::auth::Authenticator;
use crate::broker::Broker;
use crate::channels::Histories;
use crate::protocol::native::Native;
use crate::transport::EndpointContext;

/// What all connections of the native protocol share.
#[derive(Debug)]
pub(super) struct NativeService {
    pub(super) context: Arc<EndpointContext>,
    pub(super) native: Arc<Native>,
    pub(super) broker: Arc<Broker>,
    pub(super) histories: Arc<Histories>,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) close_on_expiry: bool,
}
