use std::borrow::Cow;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::HttpError;
use crate::auth::pusher::{AppCredentials, RequestRejectReason, SignedRequest};
use crate::protocol::pusher::{App, Apps};

/// The endpoint of a request, with the parameters from its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route<'a> {
    /// `POST events`
    Events,
    /// `POST batch_events`
    BatchEvents,
    /// `GET channels`
    Channels,
    /// `GET channels/{channel}`
    Channel(Cow<'a, str>),
    /// `GET channels/{channel}/users`
    Users(Cow<'a, str>),
    /// `GET channels/{channel}/history`
    History(Cow<'a, str>),
    /// `POST users/{id}/terminate_connections`
    Terminate(Cow<'a, str>),
    /// `GET connections`
    Connections,
}

impl Route<'_> {
    /// The name of the endpoint, for metrics.
    #[must_use]
    pub fn endpoint(&self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::BatchEvents => "batch_events",
            Self::Channels => "channels",
            Self::Channel(_) => "channel",
            Self::Users(_) => "users",
            Self::History(_) => "history",
            Self::Terminate(_) => "terminate_connections",
            Self::Connections => "connections",
        }
    }
}

/// The app and the endpoint of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    pub app_id: Cow<'a, str>,
    pub route: Route<'a>,
}

/// Parses the method and the path of the request line.
pub fn route<'a>(method: &str, path: &'a str) -> Result<Target<'a>, HttpError> {
    let not_found = || HttpError::new(404, "not_found", "nothing is served at this path");
    let rest = path.strip_prefix("/apps/").ok_or_else(not_found)?;
    // Split before decoding, because a slash inside a name is encoded as %2F.
    let segments: Vec<&str> = rest.split('/').collect();
    let decoded = |text: &'a str| percent_decode_str(text).decode_utf8().map_err(|_| not_found());
    let (app_id, route) = match *segments.as_slice() {
        [app, "events"] => (app, Route::Events),
        [app, "batch_events"] => (app, Route::BatchEvents),
        [app, "channels"] => (app, Route::Channels),
        [app, "channels", channel] => (app, Route::Channel(decoded(channel)?)),
        [app, "channels", channel, "users"] => (app, Route::Users(decoded(channel)?)),
        [app, "channels", channel, "history"] => (app, Route::History(decoded(channel)?)),
        [app, "users", id, "terminate_connections"] => (app, Route::Terminate(decoded(id)?)),
        [app, "connections"] => (app, Route::Connections),
        _ => return Err(not_found()),
    };
    let wanted = match route {
        Route::Events | Route::BatchEvents | Route::Terminate(_) => "POST",
        Route::Channels | Route::Channel(_) | Route::Users(_) | Route::History(_) | Route::Connections => {
            "GET"
        }
    };
    if method != wanted {
        let message = format!("this path takes {wanted} requests only");
        return Err(HttpError::new(405, "method_not_allowed", message));
    }
    Ok(Target { app_id: decoded(app_id)?, route })
}

/// Finds the app and verifies the signature of the request. `now` is in seconds since the Unix epoch.
pub fn authorize<'a>(
    apps: &'a Apps,
    target: &Target<'_>,
    request: &SignedRequest<'_>,
    now: u64,
) -> Result<&'a Arc<App>, HttpError> {
    accept(apps, target, |credentials| credentials.verify_request(request, now))
}

/// Does the same before the body is read, so that the server reads no body of an unauthorized caller.
pub fn authorize_head<'a>(
    apps: &'a Apps,
    target: &Target<'_>,
    request: &SignedRequest<'_>,
    now: u64,
) -> Result<&'a Arc<App>, HttpError> {
    accept(apps, target, |credentials| credentials.verify_head(request, now))
}

fn accept<'a>(
    apps: &'a Apps,
    target: &Target<'_>,
    verify: impl FnOnce(&AppCredentials) -> Result<(), RequestRejectReason>,
) -> Result<&'a Arc<App>, HttpError> {
    let app = apps.by_id(&target.app_id).ok_or_else(|| {
        HttpError::new(404, "no_such_app", "no app has this id: is it one of this server's settings?")
    })?;
    verify(&app.credentials).map_err(|reason| HttpError::new(401, "unauthorized", reason.to_string()))?;
    if !app.enabled {
        return Err(HttpError::new(403, "app_disabled", "the app is disabled; set enabled = true for it"));
    }
    Ok(app)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::pusher::PusherSettings;

    #[test]
    fn requests_are_routed_by_method_and_path() {
        for (method, path, app, expected) in [
            ("POST", "/apps/1/events", "1", Route::Events),
            ("POST", "/apps/my%20app/batch_events", "my app", Route::BatchEvents),
            ("GET", "/apps/1/channels", "1", Route::Channels),
            ("GET", "/apps/1/channels/private-a%40b", "1", Route::Channel("private-a@b".into())),
            ("GET", "/apps/1/channels/presence-a/users", "1", Route::Users("presence-a".into())),
            ("GET", "/apps/1/channels/news/history", "1", Route::History("news".into())),
            ("POST", "/apps/1/users/a%2Fb/terminate_connections", "1", Route::Terminate("a/b".into())),
            ("GET", "/apps/1/connections", "1", Route::Connections),
        ] {
            assert_eq!(route(method, path), Ok(Target { app_id: app.into(), route: expected }));
        }
        let status = |method, path| route(method, path).unwrap_err().status;
        for path in [
            "/",
            "/apps",
            "/apps/1",
            "/apps/1/event",
            "/apps/1/events/",
            "/apps/1/channels/%ff",
            "/x/apps/1/events",
        ] {
            assert_eq!(status("GET", path), 404, "{path}");
        }
        assert_eq!(status("GET", "/apps/1/events"), 405);
        assert_eq!(status("POST", "/apps/1/channels"), 405);
    }

    #[test]
    fn only_requests_signed_with_the_secret_of_the_app_are_authorized() {
        let settings = [
            r#"{"id":"1","key":"k","secret":"s"}"#,
            r#"{"id":"2","key":"off","secret":"s","enabled":false}"#,
        ]
        .map(|text| serde_json::from_str(text).unwrap());
        let apps = Apps::new(&PusherSettings::default(), &settings).unwrap();
        let status = |id: &str, signs: &str| {
            let path = format!("/apps/{id}/channels");
            let request = SignedRequest { method: "GET", path: &path, query: "", body: b"" };
            let query = apps.by_id(signs).unwrap().credentials.sign_request(&request, 1000);
            let target = route("GET", &path).unwrap();
            authorize(&apps, &target, &SignedRequest { query: &query, ..request }, 1000)
                .map_or_else(|error| error.status, |_| 200)
        };
        assert_eq!(
            [status("1", "1"), status("1", "2"), status("2", "2"), status("2", "1"), status("3", "1")],
            [200, 401, 403, 401, 404]
        );
    }
}
