//! The `OpenAPI` document.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, Server};
use utoipa::{Modify, OpenApi, openapi};

/// What the handlers do not say.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Yamabiko",
        description = "Publishes messages, closes connections, and reads channels, histories, connections, users and nodes, on all nodes."
    ),
    modifiers(&BearerKey)
)]
pub(super) struct Document;

struct BearerKey;

impl Modify for BearerKey {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "The secret of one of [[api.keys]]. Without keys in the settings, an operators' port on a loopback address needs none.",
            ))
            .build();
        let components = document.components.get_or_insert_with(Components::new);
        components.add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

/// The text of the document for an API that is served under `base`.
pub(super) fn text(mut document: openapi::OpenApi, base: &str) -> String {
    document.servers = Some(vec![Server::new(base)]);
    // Strings and numbers can always be written as JSON.
    document.to_pretty_json().unwrap_or_default()
}
