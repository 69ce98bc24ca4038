//! What the handlers of all requests share.

use std::sync::{Arc, atomic::AtomicBool};

use super::{access::Authorizer, images::Images, metrics::Metrics};
use crate::protocol::generation::Generation;

/// The state of a server.
pub(super) struct ServerState {
    pub(super) authorizer: Authorizer,
    pub(super) images: Images,
    /// The newest generation whose routes are served.
    pub(super) generation: Generation,
    pub(super) metrics: Arc<Metrics>,
    /// Whether the server is shutting down.
    pub(super) shutting_down: AtomicBool,
}
