//! `/api/v1`: the HTTP API of the application and of operators.
//!
//! One file for each resource. Requests are validated as a whole before they have any effect, and take the same paths as
//! everything else: what they publish or close goes through the broker. Errors are problems (RFC 9457), and the `OpenAPI`
//! document is built from the handlers.

mod access;
mod channels;
mod connections;
mod disconnect;
mod document;
mod guard;
mod history;
mod key;
mod listing;
mod log_level;
mod members;
mod node_query;
mod node_tails;
mod nodes;
mod page;
mod problem;
mod publish;
mod publish_batch;
mod published_message;
mod reload;
mod reload_report;
mod request;
mod revocations;
mod routes;
mod scope;
mod settings;
mod state;
mod tail;
mod tail_line;
mod traffic;
mod users;

pub use access::{Access, AccessError, ApiKeys, Caller};
pub use node_tails::Tails;
pub use problem::Problem;
pub use reload_report::{PendingSetting, Reload, ReloadReport};
pub use routes::routes;
pub use scope::Scope;
pub use settings::{Api, ApiKeySettings, ApiProblem};
pub use state::ApiState;
