use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

/// The URI of the request line, if [`normalize`] has changed it.
#[derive(Debug, Clone)]
pub struct RequestedUri(pub Uri);

/// Removes doubled and trailing slashes from the path: a base URL that ends with a slash yields `//app/KEY`. The original is kept as
/// [`RequestedUri`].
pub fn normalize(mut request: Request) -> Request {
    if let Some(uri) = normalized(request.uri()) {
        let original = std::mem::replace(request.uri_mut(), uri);
        request.extensions_mut().insert(RequestedUri(original));
    }
    request
}

fn normalized(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let is_normal = path == "/" || !(path.contains("//") || path.ends_with('/'));
    if is_normal || !path.starts_with('/') {
        return None;
    }
    let mut path_and_query = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        path_and_query.push('/');
        path_and_query.push_str(part);
    }
    if path_and_query.is_empty() {
        path_and_query.push('/');
    }
    if let Some(query) = uri.query() {
        path_and_query.push('?');
        path_and_query.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path_and_query).ok()?);
    Uri::from_parts(parts).ok()
}

/// The response for an unknown path. Logged, because a misconfigured client or probe is found that way.
pub async fn not_found(method: Method, uri: Uri) -> Response {
    tracing::info!(method = method.as_str(), path = printable(uri.path()), "unknown path");
    (StatusCode::NOT_FOUND, "there is nothing here\n").into_response()
}

/// A path for the log: truncated, and without anything that could be a token.
fn printable(path: &str) -> String {
    const LENGTH: usize = 100;
    // Every JWT starts with the base64 of `{"`. The token of a session follows a `~`, or precedes `/app`.
    let shown = path.split_once("eyJ").map_or(path, |(before, _)| before);
    let shown = shown.split_once('~').map_or(shown, |(before, _)| before);
    let shown = if path.contains("/app") && !path.starts_with("/app") { "/" } else { shown };
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
    fn extra_slashes_are_removed() {
        for (path, meant) in [
            ("//app/key?protocol=7", "/app/key?protocol=7"),
            ("/app/key/", "/app/key"),
            ("/app//key/?a=b//c/", "/app/key?a=b//c/"),
            ("//", "/"),
            ("//?token=x", "/?token=x"),
            ("/up/", "/up"),
        ] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let request = normalize(request);
            assert_eq!(request.uri(), meant);
            assert_eq!(request.extensions().get::<RequestedUri>().unwrap().0, path);
        }
        for path_and_query in ["/", "/app/key", "/?a=//", "*"] {
            let request = normalize(Request::get(path_and_query).body(Body::empty()).unwrap());
            assert_eq!(request.uri(), path_and_query);
            assert!(request.extensions().get::<RequestedUri>().is_none());
        }
    }

    #[test]
    fn a_logged_path_contains_no_token() {
        assert_eq!(printable("/nothing/here"), "/nothing/here");
        assert_eq!(printable("/ws/eyJhbGciOiJIUzI1NiJ9.e30.x"), "/ws/…");
        assert_eq!(printable("/app/key~6f1c1f0e-8f5a-4d2e/x"), "/app/key…");
        assert_eq!(printable("/6f1c1f0e-8f5a-4d2e/app"), "/…");
        assert_eq!(printable(&"/a".repeat(500)).chars().count(), 101);
    }
}
