//! What a key may do, as it can find out itself.

use serde_json::{Value, json};

use super::{KEYS, LARAVEL, OPERATOR, SETTINGS, problem, serve};
use crate::support::{Request, Server};

fn key(server: &Server, secret: &str) -> Value {
    let response =
        Request::get(server.admin, "/api/v1/key").header("Authorization", format!("Bearer {secret}")).send();
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

#[test]
fn every_key_learns_its_own_scopes() {
    let all =
        "[[api.keys]]\nname = \"all\"\nsecret = \"all-scopes-key-of-the-tests-32-bytes\"\nscopes = [\"*\"]\n";
    let server = Server::start(|options| {
        options.config(&format!("{all}{KEYS}{SETTINGS}"));
    });
    let node = server.expect_log(|line| line["message"] == "listening")["node"].clone();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        key(&server, LARAVEL),
        json!({ "name": "laravel", "scopes": ["publish"], "apps": ["1", "2"], "node": node, "version": version })
    );
    assert_eq!(key(&server, OPERATOR)["scopes"], json!(["read", "disconnect", "revoke", "reload"]));
    let each = json!(["read", "tail", "publish", "disconnect", "revoke", "reload"]);
    assert_eq!(key(&server, "all-scopes-key-of-the-tests-32-bytes")["scopes"], each);
    for refused in [
        Request::get(server.admin, "/api/v1/key").send(),
        Request::get(server.admin, "/api/v1/key").header("Authorization", "Bearer another").send(),
        Request::get(server.address, "/yamabiko/api/v1/key").send(),
    ] {
        assert_eq!(problem(&refused).0, 401, "{refused:?}");
    }
    // Where no key is needed, there is none.
    let open = serve().get_admin("/api/v1/key").json();
    assert_eq!((&open["name"], &open["scopes"]), (&Value::Null, &each));
}
