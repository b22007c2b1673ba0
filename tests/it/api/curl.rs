//! The commands of `docs/api.md` and of the page, as someone types them.

use std::process::Command;

use serde_json::{Value, json};

use super::{join, serve};
use crate::support::Server;

/// What the commands name, and a key for all of them.
const SETTINGS_OF_THE_PAGE: &str = r#"
[[api.keys]]
name = "all"
secret = "all-scopes-key-of-the-tests-32-bytes"
scopes = ["*"]

[api]
public_path = "/yamabiko"

[[apps]]
id = "my-app"
key = "page"
secret = "app-secret-of-the-tests"
"#;

/// Runs a command of the documents. Returns its output.
fn run(command: &str, url: &str, key: &str) -> (bool, Value) {
    let output = Command::new("sh").arg("-c").arg(command).env("URL", url).env("KEY", key).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let json =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{command}: {text} {:?}", output.stderr));
    (output.status.success(), json)
}

#[test]
fn the_commands_of_the_documents_work() {
    let server = Server::start(|options| {
        options.config(SETTINGS_OF_THE_PAGE);
    });
    let mut aoi = join(&server, 7, "Aoi", "chat:room1");
    let page = include_str!("../../../docs/api.md");
    let commands: Vec<&str> =
        page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(commands.len() >= 6, "{commands:?}");
    let (key, public) =
        ("all-scopes-key-of-the-tests-32-bytes", format!("http://{}/yamabiko", server.address));
    for command in &commands {
        let (ok, answer) = run(command, &public, key);
        assert!(ok, "{command}: {answer}");
        // Nobody else can.
        let (ok, answer) = run(command, &public, "another");
        assert_eq!((ok, &answer["code"]), (false, &json!("unknown_key")), "{command}");
    }
    for text in ["hello", "one", "only for you"] {
        assert_eq!(aoi.expect_json()["data"]["message"], text);
    }
    assert_eq!(aoi.expect_close().0, 4403);
}

#[test]
fn the_commands_of_the_page_work() {
    let server = serve();
    let page = server.get_admin("/api/v1/docs");
    let unescaped = |text: &str| {
        text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    };
    let commands: Vec<String> = page
        .text()
        .split("<pre>")
        .skip(1)
        .map(|rest| unescaped(rest.split("</pre>").next().unwrap()))
        .collect();
    assert!(commands.len() >= 10, "{commands:?}");
    // The tail goes on: `tail.rs`. No key is needed here, and the commands work without one.
    for command in commands.iter().filter(|command| !command.contains("/tail\"")) {
        let (_, answer) = run(command, &format!("http://{}", server.admin), "");
        let code = answer["code"].as_str().unwrap_or("ok");
        assert!(
            ["ok", "no_history", "no_such_revocation", "unknown_connection"].contains(&code),
            "{command}: {answer}"
        );
    }
}
