//! The operators' page. It needs no key and contains nothing: what it shows, it reads from the API with the key of its user.

use axum::extract::Path;
use axum::response::{Redirect, Response};

use crate::page_assets::{PageAssets, page_files};

const PAGE: PageAssets = PageAssets {
    files: &[page_files!("page":
        "operators.css", "views.css",
        "operators.js", "api.js", "channel.js", "charts.js", "closing.js", "elements.js", "figures.js", "lists.js",
        "logs.js", "overview.js", "publish.js", "tail.js", "texts.js", "user.js",
    )],
    texts: &[],
    // Only files of this host are loaded, and they connect only to it.
    policy: "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
        connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
};

/// `GET /`: to the page, also behind a proxy that serves the port under a path.
pub(super) async fn redirect() -> Redirect {
    Redirect::temporary("operators")
}

/// `GET /operators`: the page.
pub(super) async fn page() -> Response {
    PAGE.page(include_str!("page/operators.html"))
}

/// `GET /operators/assets/{name}`: a file of the page.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    PAGE.file(&name)
}
