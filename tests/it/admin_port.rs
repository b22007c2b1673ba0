//! The operators' port: which hosts and origins it answers, and what only it serves.

use std::net::{Ipv4Addr, SocketAddr};

use crate::support::{Raw, Request, Server};

#[test]
fn admin_routes_are_not_on_the_public_port() {
    let server = Server::start(|_| {});
    for target in ["/metrics", "/readyz"] {
        assert_eq!(server.get(target).status, 404, "{target}");
        assert_eq!(server.get_admin(target).status, 200, "{target}");
    }
}

/// A page of the internet that makes its own name resolve to the operators' address, or posts across origins.
#[test]
fn the_admin_port_rejects_foreign_hosts_and_origins() {
    let server = Server::start(|options| {
        options.set("admin.hosts", "yamabiko,node-1.example.com");
    });
    let port = server.admin.port();
    let status = |method: &'static str, target: &str, host: &str, origin: Option<&str>| {
        let request = match method {
            "POST" => Request::post_json(server.admin, target, r#"{"user":7}"#),
            _ => Request::get(server.admin, target),
        };
        let request = request.replace("Host", host);
        match origin {
            Some(origin) => request.header("Origin", origin),
            None => request,
        }
        .send()
        .status
    };
    for (method, target) in [
        ("GET", "/metrics"),
        ("GET", "/readyz"),
        ("GET", "/healthz"),
        ("POST", "/disconnect"),
        ("GET", "/none"),
    ] {
        let good = if target == "/none" { 404 } else { 200 };
        for host in
            [&*format!("127.0.0.1:{port}"), "localhost", "[::1]:8081", "yamabiko:8081", "NODE-1.example.com"]
        {
            assert_eq!(status(method, target, host, None), good, "{target} {host}");
            assert_eq!(
                status(method, target, host, Some(&format!("http://{host}"))),
                good,
                "{target} {host}"
            );
            for origin in ["https://evil.example", "null", "http://localhost:3000", ""] {
                assert_eq!(status(method, target, host, Some(origin)), 403, "{target} {host} {origin}");
            }
        }
        // A loopback address is never reached under another address.
        for host in
            ["evil.example", &*format!("evil.example:{port}"), "127.0.0.1.nip.io", "10.0.0.1:8081", ""]
        {
            assert_eq!(status(method, target, host, None), 403, "{target} {host}");
            assert_eq!(status(method, target, host, Some(&format!("http://{host}"))), 403, "{target} {host}");
        }
        let twice = Request::get(server.admin, target).header("Host", "evil.example").send();
        assert!([400, 403].contains(&twice.status), "{twice:?}");
    }
    let told = server.expect_log(|line| line["host"] == "evil.example");
    assert_eq!(told["level"], "INFO");

    // A probe of HTTP/1.0 names no host, and no browser is one.
    let mut probe = Raw::connect(server.admin);
    probe.write(b"GET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!(probe.read_head().status, 200);

    // Kubelets and Prometheus reach it by the address of the pod.
    let everywhere = Server::start(|options| {
        options.set("admin.listen", "0.0.0.0:0");
    });
    let reachable = SocketAddr::from((Ipv4Addr::LOCALHOST, everywhere.admin.port()));
    for (host, answer) in [
        ("10.1.2.3:8081", 200),
        ("[fd00::7]:8081", 200),
        ("localhost", 200),
        ("evil.example", 403),
        ("yamabiko", 403),
    ] {
        let response = Request::get(reachable, "/readyz").replace("Host", host).send();
        assert_eq!(response.status, answer, "{host}: {response:?}");
    }
}
