use axum::extract::Path;
use axum::response::Response;

use crate::page_assets::{PageAssets, page_files};

const PAGE: PageAssets = PageAssets {
    files: &[
        page_files!("page":
            "console.css",
            "console.js", "api.js", "check.js", "connection.js", "echo.js", "echo-tab.js", "guide.js", "job.js",
            "kinds.js", "publish.js", "snippets.js", "texts.js", "user.js", "wire.js",
        ),
        &[("client.js", include_str!("../../clients/js/dist/index.js"))],
    ],
    texts: &[
        page_files!("../../docs/snippets":
            "browser.js", "token.php", "progress.php", "publish.php", "echo.env", "laravel-echo.js", "broadcast.php",
            "command-line.sh",
        ),
        page_files!("../../docs": "troubleshooting.md"),
    ],
    // Only files of this host are loaded, and they connect only to it. `ws:` and `wss:` are listed because browsers disagree on
    // whether 'self' covers them.
    policy: "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
        connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
};

/// `GET /console`: the page.
pub(super) async fn page() -> Response {
    PAGE.page(include_str!("page/console.html"))
}

/// `GET /console/guide`: troubleshooting.
pub(super) async fn guide() -> Response {
    PAGE.page(include_str!("page/guide.html"))
}

/// `GET /console/assets/{name}`: a file of the page, or a snippet that it shows.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    PAGE.file(&name)
}
