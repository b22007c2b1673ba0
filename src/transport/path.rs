use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

/// What the request line said, where the path was tidied.
#[derive(Debug, Clone)]
pub struct RequestedUri(pub Uri);

/// Takes a path with doubled slashes, or one at its end, for the path that is meant: `//app/KEY` is what a base URL that
/// ends with a slash leads to. The path as it came is kept as [`RequestedUri`].
pub fn tolerate(mut request: Request) -> Request {
    if let Some(uri) = tidy(request.uri()) {
        let original = std::mem::replace(request.uri_mut(), uri);
        request.extensions_mut().insert(RequestedUri(original));
    }
    request
}

fn tidy(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let is_tidy = path == "/" || !(path.contains("//") || path.ends_with('/'));
    if is_tidy || !path.starts_with('/') {
        return None;
    }
    let mut tidied = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        tidied.push('/');
        tidied.push_str(part);
    }
    if tidied.is_empty() {
        tidied.push('/');
    }
    if let Some(query) = uri.query() {
        tidied.push('?');
        tidied.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(tidied).ok()?);
    Uri::from_parts(parts).ok()
}

/// The answer for a path that leads nowhere. Whoever set it wrong looks into the log.
pub async fn not_found(method: Method, uri: Uri) -> Response {
    tracing::info!(method = method.as_str(), path = printable(uri.path()), "unknown path");
    (StatusCode::NOT_FOUND, "there is nothing here\n").into_response()
}

/// A path without what could be a token in it, and not too long.
fn printable(path: &str) -> String {
    const LENGTH: usize = 100;
    // Every JWT begins with the base64 of `{"`.
    let shown = path.split_once("eyJ").map_or(path, |(before, _)| before);
    let mut text: String = shown.chars().take(LENGTH).collect();
    if text.len() < path.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn slashes_that_are_too_many_do_not_count() {
        for (path, meant) in [
            ("//app/key?protocol=7", "/app/key?protocol=7"),
            ("/app/key/", "/app/key"),
            ("/app//key/?a=b//c/", "/app/key?a=b//c/"),
            ("//", "/"),
            ("//?token=x", "/?token=x"),
            ("/up/", "/up"),
        ] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let request = tolerate(request);
            assert_eq!(request.uri(), meant);
            assert_eq!(request.extensions().get::<RequestedUri>().unwrap().0, path);
        }
        for tidied in ["/", "/app/key", "/?a=//", "*"] {
            let request = tolerate(Request::get(tidied).body(Body::empty()).unwrap());
            assert_eq!(request.uri(), tidied);
            assert!(request.extensions().get::<RequestedUri>().is_none());
        }
    }

    #[test]
    fn no_token_is_in_a_path_that_is_logged() {
        assert_eq!(printable("/nothing/here"), "/nothing/here");
        assert_eq!(printable("/ws/eyJhbGciOiJIUzI1NiJ9.e30.x"), "/ws/…");
        assert_eq!(printable(&"/a".repeat(500)).chars().count(), 101);
    }
}
