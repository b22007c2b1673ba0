//! Passwords, the permissions of a Redis user, and TLS.

use bytes::Bytes;
use tokio::time::timeout;
use yamabiko::broker::{PublishError, Status};
use yamabiko::message::Event;

use super::{Node, PATIENCE, PUBLISH_TIMEOUT, SIGNALS, TOPIC, event, ignore, number, wait_for};
use crate::support::ports::own_port;
use crate::support::redis::RedisServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_reported() {
    let server = RedisServer::start_with(&["--requirepass", "p@ss/word"]);
    for (credentials, code) in [("", "NOAUTH"), (":wr0ng", "WRONGPASS")] {
        let node = Node::start(&server.url_as(credentials), 1 << 20, PUBLISH_TIMEOUT);
        wait_for(code, || {
            let Status::Unavailable(reason) = node.broker.status() else { panic!("it got in") };
            assert!(!reason.contains("wr0ng"), "{reason}");
            reason.contains(code)
        })
        .await;
        assert_eq!(node.publish(event("chat:", 0)).await, Err(PublishError::Unreachable));
    }
    for credentials in [":p%40ss%2Fword", "default:p%40ss%2Fword"] {
        let mut node = Node::start(&format!("{}/3", server.url_as(credentials)), 1 << 20, PUBLISH_TIMEOUT);
        node.ready().await;
        assert_eq!(node.publish(event("chat:", 1)).await, Ok(()));
        assert_eq!(number(&node.next().await), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_redis_permissions_are_enough() {
    for permissions in [
        "+subscribe +publish +script|load +evalsha +time",
        "+subscribe +publish +ping",
        "+subscribe +publish +ping +script|load +evalsha",
    ] {
        let acl = format!("aoi on >pass resetchannels &{TOPIC} &{SIGNALS} -@all {permissions}");
        let mut arguments = vec!["--user"];
        arguments.extend(acl.split(' '));
        let server = RedisServer::start_with(&arguments);
        let mut node = Node::start(&server.url_as("aoi:pass"), 1 << 20, PUBLISH_TIMEOUT);
        node.ready().await;
        for expected in 0..100 {
            node.broker.publish(event("chat:", expected), ignore());
        }
        for expected in 0..100 {
            assert_eq!(number(&node.next().await), expected, "{permissions}");
        }
        assert_eq!(node.publish(event("chat:", 100)).await, Ok(()), "{permissions}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_subscription_is_reported_with_redis_error_and_topics() {
    let acl = "aoi on >pass resetchannels &other-* -@all +subscribe +publish +ping";
    let mut arguments = vec!["--user"];
    arguments.extend(acl.split(' '));
    let server = RedisServer::start_with(&arguments);
    let node = Node::start(&server.url_as("aoi:pass"), 1 << 20, PUBLISH_TIMEOUT);
    wait_for("the reason", || {
        let Status::Unavailable(reason) = node.broker.status() else { panic!("it got in") };
        reason.contains("refused SUBSCRIBE: NOPERM ")
            && reason.contains("permissions")
            && reason.contains(TOPIC)
            && reason.contains(SIGNALS)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_mismatch_is_reported_with_the_url_to_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    std::fs::write(path("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    let port = own_port().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let tls = ["--tls-port", &*port, "--tls-cert-file", &*cert, "--tls-key-file", &*key];
    for password in [&[][..], &["--requirepass", "secret"]] {
        let arguments =
            [&tls[..], &["--tls-ca-cert-file", &*cert, "--tls-auth-clients", "no"], password].concat();
        let server = RedisServer::start_with(&arguments);
        for (url, told) in [
            (format!("rediss://:secret@127.0.0.1:{}", server.port()), "without TLS: use redis://"),
            (format!("redis://:secret@127.0.0.1:{port}"), "speaks TLS: use rediss://"),
        ] {
            let node = Node::start(&url, 1 << 20, PUBLISH_TIMEOUT);
            wait_for(told, || {
                let Status::Unavailable(reason) = node.broker.status() else { panic!("it got in") };
                reason.contains(told)
            })
            .await;
        }
    }
}

/// Runs itself again with an environment of its own: the roots of the system are looked up there.
#[tokio::test(flavor = "multi_thread")]
async fn tls_with_a_user_and_a_database() {
    const URL: &str = "TEST_REDIS_URL";
    if let Ok(url) = std::env::var(URL) {
        return over_tls(&url).await;
    }
    let (_crate, module) = module_path!().split_once("::").unwrap();
    let itself = format!("{module}::tls_with_a_user_and_a_database");
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new([]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(path("root.pem"), root.pem()).unwrap();
    std::fs::write(path("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(path("none.pem"), "").unwrap();

    let port = own_port();
    let acl = format!(
        "aoi on >p@ss/word resetchannels &{TOPIC} &{SIGNALS} -@all +subscribe +publish +script|load +evalsha +time"
    );
    let (port_text, cert, key, root) =
        (port.to_string(), path("cert.pem"), path("key.pem"), path("root.pem"));
    let mut arguments = vec!["--tls-port", &*port_text, "--tls-cert-file", &*cert, "--tls-key-file", &*key];
    arguments.extend(["--tls-ca-cert-file", &*root, "--tls-auth-clients", "no", "--user"]);
    arguments.extend(acl.split(' '));
    let _server = RedisServer::start_with(&arguments);

    for (host, roots, expected) in [
        ("localhost", "root.pem", "in"),
        // Not the name in the certificate.
        ("127.0.0.1", "root.pem", "not valid for name"),
        // Issued by an unknown authority.
        ("localhost", "none.pem", "UnknownIssuer"),
    ] {
        let output = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &itself, "--nocapture"])
            .env(URL, format!("rediss://aoi:p%40ss%2Fword@{host}:{port}/3"))
            .env("SSL_CERT_FILE", path(roots))
            .env_remove("SSL_CERT_DIR")
            .env("TEST_EXPECTED", expected)
            .output();
        let output = timeout(2 * PATIENCE, output).await.expect("an end").unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{host}, {roots}: {text}");
    }
}

async fn over_tls(url: &str) {
    let expected = std::env::var("TEST_EXPECTED").unwrap();
    let mut node = Node::start(url, 64 << 20, PUBLISH_TIMEOUT);
    if expected != "in" {
        return wait_for(&expected, || {
            let Status::Unavailable(reason) = node.broker.status() else { panic!("it got in") };
            reason.contains(&expected)
        })
        .await;
    }
    node.ready().await;
    for number in 0..1000 {
        node.broker.publish(event("chat:", number), ignore());
    }
    for expected in 0..1000 {
        assert_eq!(number(&node.next().await), expected);
    }
    let data = Bytes::from(format!(r#"{{"text":"{}"}}"#, "山".repeat(1 << 20)));
    assert_eq!(node.publish(Event { data: data.clone(), ..event("chat:", 0) }).await, Ok(()));
    assert!(node.next().await.data == data);
}
