use std::collections::HashMap;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tower::ServiceExt;

use super::*;
use crate::auth::{self, Authenticator};
use crate::broker::{self, Inbound};
use crate::message::{Dispatch, Event};
use crate::protocol::native::ChannelSettings;
use crate::protocol::pusher::{AppSettings, Apps, PusherSettings};
use crate::telemetry::Metrics;

struct Bench {
    console: Router,
    state: ConsoleState,
    app: Arc<App>,
    broker: Arc<Broker>,
    inbound: UnboundedReceiver<Inbound>,
}

/// The files of `docs/snippets` that the page shows.
const SNIPPETS: [&str; 8] = [
    "browser.js",
    "token.php",
    "publish.php",
    "progress.php",
    "echo.env",
    "laravel-echo.js",
    "broadcast.php",
    "command-line.sh",
];

fn auth_settings() -> auth::Settings {
    auth::Settings {
        secret: "a secret of more than thirty-two bytes".into(),
        algorithms: vec!["HS256".to_owned()],
        leeway: Duration::ZERO,
        close_on_expiry: true,
        max_token_age: Duration::from_secs(86_400),
        issuer: String::new(),
        jwks_url: String::new(),
        audience: String::new(),
        keys: Vec::new(),
    }
}

fn bench() -> Bench {
    let system = Sender { name: "System".into(), id: 0.into() };
    let settings = broker::Settings {
        url: String::new().into(),
        prefix: String::new(),
        publish_timeout: Duration::from_secs(2),
    };
    let metrics = Arc::new(Metrics::new());
    let (broker, inbound) =
        Broker::start(&settings, system.clone(), 1 << 20, Arc::default(), metrics).unwrap();
    let broker = Arc::new(broker);
    let issuer = TokenIssuer::new(&auth_settings()).unwrap();
    let app = AppSettings::new("dev", "dev-key", "the app's secret".into());
    let apps = Apps::new(&PusherSettings::default(), &[app]).unwrap();
    let app = apps.by_id("dev").unwrap().clone();
    let authenticator = Arc::new(Authenticator::new(&auth_settings()).unwrap());
    let chat = ChannelSettings {
        fields: Some(vec!["message".into(), "name".into()]),
        targeting: true,
        client_send: true,
        presence: false,
        history: None,
        gate: None,
    };
    let native = Arc::new(Native::new(&HashMap::from([("chat".to_owned(), chat)])));
    let state =
        ConsoleState::new(broker.clone(), issuer, authenticator, native, system).with_app(Some(app.clone()));
    Bench { console: routes(state.clone()), state, app, broker, inbound }
}

impl Bench {
    async fn event(&mut self) -> Event {
        match self.inbound.recv().await.unwrap() {
            Inbound::Dispatch { dispatch: Dispatch::Event(event), .. } => event,
            other => panic!("an event was due: {other:?}"),
        }
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let answer = self.console.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn post(&self, path: &str, body: &str) -> (StatusCode, Value) {
        self.send(post(path).body(body.to_owned().into()).unwrap()).await
    }
}

fn post(path: &str) -> axum::http::request::Builder {
    Request::post(format!("/console/{path}"))
        .header(header::HOST, "localhost:8080")
        .header(header::CONTENT_TYPE, "application/json")
}

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap()
}

#[tokio::test]
async fn every_file_that_the_page_names_is_served_under_a_strict_policy() {
    let bench = bench();
    let get =
        |path: String| Request::get(path).header(header::HOST, "[::1]:8080").body(Body::empty()).unwrap();
    let mut waiting = Vec::new();
    for path in ["/console", "/console/guide"] {
        let page = bench.console.clone().oneshot(get(path.to_owned())).await.unwrap();
        assert_eq!(page.status(), StatusCode::OK, "{path}");
        let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let text = to_bytes(page.into_body(), usize::MAX).await.unwrap();
        waiting.push(String::from_utf8(text.into()).unwrap());
    }
    let mut seen = std::collections::BTreeSet::new();
    while let Some(text) = waiting.pop() {
        let named = text
            .split('"')
            .filter_map(|part| part.strip_prefix("/console/assets/").or_else(|| part.strip_prefix("./")))
            .chain(SNIPPETS);
        for name in named {
            if !seen.insert(name.to_owned()) {
                continue;
            }
            let answer = bench.console.clone().oneshot(get(format!("/console/assets/{name}"))).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{name}");
            let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            waiting.push(String::from_utf8(body.into()).unwrap());
        }
    }
    let count = |folder| std::fs::read_dir(folder).unwrap().count();
    // What all pages share is beside a source file.
    let files = count("src/console/page") + count("src/page_assets") - 1;
    // The two pages themselves are no assets; the text of the guide and the client are.
    assert_eq!(seen.len(), files - 2 + SNIPPETS.len() + 2, "{seen:?}");
}

#[tokio::test]
async fn a_token_is_one_that_the_server_accepts() {
    let bench = bench();
    let (status, answer) =
        bench.post("token", r#"{"id":7,"name":"Aoi","channel":"chat:default","ttl":15}"#).await;
    assert_eq!((status, &answer["expires_in"]), (StatusCode::OK, &json!(15)));
    let token = answer["token"].as_str().unwrap();
    let now = crate::unix_time::unix_time().as_secs();
    let identity = Authenticator::new(&auth_settings()).unwrap().verify(token, now).unwrap();
    assert_eq!((identity.id, identity.channel.as_str()), (7.into(), "chat:default"));
}

#[tokio::test]
async fn a_token_is_checked_as_a_connection_would_be_and_never_repeated() {
    let bench = bench();
    let check = |token: &str| json!({ "token": token }).to_string();
    let (_, made) = bench.post("token", r#"{"id":7,"name":"Aoi","channel":"chat:default"}"#).await;
    let token = made["token"].as_str().unwrap();
    assert_eq!(bench.post("token/check", &check(token)).await, (StatusCode::OK, json!({ "ok": true })));

    let foreign =
        auth::Settings { secret: "another secret of more than thirty-two bytes".into(), ..auth_settings() };
    let channel = crate::message::ChannelName::new("chat:default").unwrap();
    let foreign =
        TokenIssuer::new(&foreign).unwrap().issue(&7.into(), "Aoi", &channel, Duration::from_secs(60));
    for (token, code) in [
        (foreign.as_str(), "bad_signature"),
        ("eyJhbGciOiJIUzI1NiJ9", "malformed_token"),
        ("", "missing_token"),
    ] {
        let (status, answer) = bench.post("token/check", &check(token)).await;
        assert_eq!(
            (status, &answer["ok"], self::code(&answer)),
            (StatusCode::OK, &json!(false), code),
            "{token}"
        );
        assert!(token.is_empty() || !answer.to_string().contains(token), "{answer}");
    }
    for body in [
        json!(token),
        json!({ "tokens": token }),
        json!({ "token": [token] }),
        json!({ "token": token, token: 1 }),
    ] {
        let (status, answer) = bench.post("token/check", &body.to_string()).await;
        assert_eq!((status.as_u16(), code(&answer)), (422, "invalid_message"));
        assert!(!answer.to_string().contains(token), "{answer}");
    }
    let (status, answer) = bench.post("token/check", &check(&"a".repeat(BODY_BYTES))).await;
    assert_eq!((status.as_u16(), code(&answer)), (413, "too_large"));
}

#[tokio::test]
async fn a_page_of_echo_gets_the_key_and_permits_that_the_server_accepts() {
    let bench = bench();
    let app = bench.app.credentials.clone();
    assert_eq!(bench.post("echo", "{}").await, (StatusCode::OK, json!({"key": "dev-key"})));
    let wanted = |socket: &str, channel: &str| {
        json!({"socket_id": socket, "channel": channel, "id": 7, "name": "Aoi"}).to_string()
    };
    let (status, permit) = bench.post("echo/auth", &wanted("1.2", "presence-Room.1")).await;
    assert_eq!(status, StatusCode::OK);
    let data = permit["channel_data"].as_str().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(data).unwrap(),
        json!({"user_id": 7, "user_info": {"name": "Aoi"}})
    );
    app.verify_channel(permit["auth"].as_str().unwrap(), "1.2", "presence-Room.1", Some(data)).unwrap();
    let (_, permit) = bench.post("echo/auth", &wanted("1.2", "private-Chat.1")).await;
    app.verify_channel(permit["auth"].as_str().unwrap(), "1.2", "private-Chat.1", None).unwrap();
    assert_eq!(permit.as_object().unwrap().len(), 1);
    for (socket, channel) in [("1.2:private-a", "private-b"), ("1.2", "private-a:b"), ("", "a"), ("1.2", "")]
    {
        let (status, answer) = bench.post("echo/auth", &wanted(socket, channel)).await;
        assert_eq!((status.as_u16(), code(&answer)), (422, "invalid_message"), "{socket} {channel}");
    }
    let without = routes(ConsoleState { app: None, ..bench.state.clone() });
    let bench = Bench { console: without, ..bench };
    assert_eq!(bench.post("echo", "{}").await, (StatusCode::OK, json!({"key": null})));
    let (status, _) = bench.post("echo/auth", &wanted("1.2", "private-a")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_bad_request_is_rejected_with_the_reason() {
    let bench = bench();
    for (path, body, status, expected) in [
        ("token", "{", 400, "invalid_json"),
        ("token", r#"{"id":"","name":"Aoi","channel":"chat:"}"#, 422, "invalid_request"),
        ("token", r#"{"id":7,"name":"Aoi","channel":""}"#, 422, "invalid_channel"),
        ("token", r#"{"id":7,"name":"Aoi","channel":"chat:","ttl":0}"#, 422, "invalid_message"),
        ("token", r#"{"id":7,"name":"Aoi","channel":"chat:","ttl":86401}"#, 422, "invalid_message"),
        ("publish", r#"{"channel":"chat:","data":[]}"#, 422, "invalid_message"),
        ("publish", r#"{"channel":"chat:"}"#, 422, "invalid_request"),
        ("publish", r#"{"channel":"\n","data":{}}"#, 422, "invalid_channel"),
        ("job", r#"{"channel":""}"#, 422, "invalid_channel"),
    ] {
        let (got, answer) = bench.post(path, body).await;
        assert_eq!((got.as_u16(), code(&answer)), (status, expected), "{path} {body}");
    }
    let large = format!(r#"{{"channel":"chat:","data":{{"a":"{}"}}}}"#, "a".repeat(BODY_BYTES));
    let (status, answer) = bench.post("publish", &large).await;
    assert_eq!((status.as_u16(), code(&answer)), (413, "too_large"));
}

#[tokio::test]
async fn the_response_lists_the_keys_that_were_left_out() {
    let bench = bench();
    let body = r#"{"channel":"chat:","data":{"massage":1,"name":"A"}}"#;
    let (status, answer) = bench.post("publish", body).await;
    assert_eq!(status, StatusCode::OK);
    let left_out = json!({
        "kind": "chat", "fields": ["message", "name"], "keys": ["massage"],
        "message": "`chat` delivers `message` and `name`: `massage` was left out",
    });
    assert_eq!(answer, json!({ "ok": true, "left_out": left_out }));
    let (_, answer) = bench.post("publish", r#"{"channel":"notes:","data":{"massage":1}}"#).await;
    assert_eq!(answer, json!({ "ok": true }));
    let (status, answer) = bench.post("publish", r#"{"channel":"chat:","data":{"target_user_id":-7}}"#).await;
    assert_eq!((status, code(&answer)), (StatusCode::UNPROCESSABLE_ENTITY, "invalid_message"));
    assert!(answer["error"]["message"].as_str().unwrap().contains("target_user_id"), "{answer}");
}

#[tokio::test]
async fn pages_from_elsewhere_are_refused() {
    let bench = bench();
    let body = r#"{"id":7,"name":"Aoi","channel":"chat:"}"#;
    let request = |headers: &[(&str, &str)]| {
        let mut request = Request::post("/console/token");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::from(body)).unwrap()
    };
    let json = ("content-type", "application/json");
    let host = ("host", "localhost:8080");
    for headers in [
        &[("host", "evil.example:8080"), json][..],
        &[json],
        &[host, ("host", "localhost:8080"), json],
        &[host],
        &[host, ("content-type", "text/plain")],
        &[host, json, ("origin", "http://evil.example")],
        &[host, json, ("origin", "http://localhost:3000")],
        &[host, json, ("origin", "null")],
    ] {
        let (status, answer) = bench.send(request(headers)).await;
        assert_eq!((status, code(&answer)), (StatusCode::FORBIDDEN, "forbidden"), "{headers:?}");
    }
    for headers in [&[host, json][..], &[host, json, ("origin", "http://localhost:8080")]] {
        assert_eq!(bench.send(request(headers)).await.0, StatusCode::OK, "{headers:?}");
    }
    let check = Request::post("/console/token/check").header("host", "evil.example").header(json.0, json.1);
    assert_eq!(
        bench.send(check.body(Body::from(r#"{"token":"a"}"#)).unwrap()).await.0,
        StatusCode::FORBIDDEN
    );
    for path in ["/console", "/console/guide"] {
        let page = Request::get(path).header("host", "evil.example").body(Body::empty()).unwrap();
        assert_eq!(bench.send(page).await.0, StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn a_publication_reaches_the_broker_to_the_letter() {
    let mut bench = bench();
    let data = r#"{"n": 12345678901234567890123, "a":1e400}"#;
    let (status, answer) = bench.post("publish", &format!(r#"{{"channel":"news:","data": {data} }}"#)).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"ok": true})));
    let event = bench.event().await;
    assert_eq!((event.channel.as_str(), &*event.data), ("news:", data.as_bytes()));
    assert_eq!(event.sender, Sender { name: "System".into(), id: 0.into() });

    bench.post("publish", r#"{"channel":"news:","data":{},"sender":{"name":"Aoi","id":7}}"#).await;
    let event = bench.event().await;
    assert_eq!(event.sender, Sender { name: "Aoi".into(), id: 7.into() });
}

#[tokio::test]
async fn a_message_that_the_broker_refuses_is_unavailable() {
    let bench = bench();
    bench.broker.shutdown().await;
    let (status, answer) = bench.post("publish", r#"{"channel":"chat:","data":{}}"#).await;
    assert_eq!((status, code(&answer)), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
}

#[tokio::test(start_paused = true)]
async fn a_job_reports_each_step_and_only_a_few_run_at_once() {
    let mut bench = bench();
    let body = r#"{"channel":"progress:1"}"#;
    for _ in 0..JOBS {
        assert_eq!(bench.post("job", body).await.0, StatusCode::ACCEPTED);
    }
    let (status, answer) = bench.post("job", body).await;
    assert_eq!((status, code(&answer)), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));

    let mut cursors = Vec::new();
    for _ in 0..JOBS * 20 {
        let event = bench.event().await;
        let data: Value = serde_json::from_slice(&event.data).unwrap();
        assert_eq!(data["info"]["type"], "sample_job_progress");
        assert_eq!(data["info"]["detail"]["total"], 20);
        cursors.push(data["info"]["detail"]["cursor"].as_u64().unwrap());
    }
    assert_eq!((cursors.iter().min(), cursors.iter().max()), (Some(&1), Some(&20)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.post("job", body).await.0, StatusCode::ACCEPTED);
}
