//! Laravel's real classes, from Debian's packages, publish through a real Redis to the real binary.
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::redis::RedisServer;
use crate::support::{Client, SECRET, Server, claims};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use yamabiko::config::Environment;

const PREFIX: &str = "laravel_database_";

#[test]
fn a_published_message_reaches_the_channel_from_the_system() {
    let app = App::start();
    let mut aoi = app.connect("chat:default");
    let mut elsewhere = app.connect("chat:");

    assert_eq!(app.publish("chat:default", &json!({ "message": "hello", "name": "Laravel" })), "1");
    assert_eq!(
        aoi.expect_json(),
        json!({
            "type": "message",
            "sender": { "name": "System", "id": 0 },
            "data": { "message": "hello", "name": "Laravel" },
        })
    );
    elsewhere.expect_quiet();
}

#[test]
fn php_spellings_of_json_are_understood() {
    let app = App::start();
    let mut aoi = app.connect("news:山/彦");
    for data in [
        json!({ "text": "やまびこ \u{1f3d4} é \"quoted\" \u{2028}", "url": "https://example.com/a/b?c=d&e" }),
        json!({ "big": 9_007_199_254_740_993_i64, "float": 1.5, "none": null, "list": [1, [2, []]], "": false }),
    ] {
        app.publish("news:山/彦", &data);
        assert_eq!(aoi.expect_json()["data"], data);
    }
    // PHP does not distinguish an empty object from an empty list; `data` is always an object.
    app.publish("news:山/彦", &json!({}));
    assert_eq!(aoi.expect_json()["data"], json!({}));
}

#[test]
fn an_application_may_publish_as_a_user() {
    let app = App::start();
    let mut aoi = app.connect("chat:default");
    app.publish_as("chat:default", &json!({ "message": "hi" }), &json!({ "name": "Haruto", "id": 12 }));
    assert_eq!(
        aoi.expect_json(),
        json!({ "type": "message", "sender": { "name": "Haruto", "id": 12 }, "data": { "message": "hi" } })
    );
}

#[test]
fn a_message_to_one_user_reaches_only_that_user() {
    let app = App::start();
    let mut aoi = app.connect("chat:default");
    let mut haruto =
        Client::connect(&app.server, &claims(12, "Haruto", "chat:default")).expect("Haruto connects");
    app.publish("chat:default", &json!({ "message": "for Haruto", "target_user_id": 12 }));
    app.publish("chat:default", &json!({ "message": "for all", "target_user_id": null }));

    assert_eq!(haruto.expect_json()["data"], json!({ "message": "for Haruto" }));
    assert_eq!(haruto.expect_json()["data"], json!({ "message": "for all" }));
    assert_eq!(aoi.expect_json()["data"], json!({ "message": "for all" }));
}

#[test]
fn invalid_messages_are_dropped_and_counted() {
    let app = App::start();
    let mut aoi = app.connect("chat:default");
    let junk = [
        "",
        "null",
        "[]",
        "{",
        "\"chat:default\"",
        r#"{"channel":"chat:default"}"#,
        r#"{"channel":7,"data":{}}"#,
        r#"{"channel":null,"data":{}}"#,
        r#"{"channel":"","data":{}}"#,
        r#"{"data":{"message":"no channel"}}"#,
        r#"{"channel":"chat:default","data":"text"}"#,
        r#"{"channel":"chat:default","data":[1]}"#,
        r#"{"channel":"chat:default","data":{"message":"x","target_user_id":[7]}}"#,
        "O:8:\"stdClass\":0:{}",
    ];
    app.php("publish_raw.php", &junk);
    app.publish("chat:default", &json!({ "message": "still here" }));
    // The junk came before it and was not delivered.
    assert_eq!(aoi.expect_json()["data"], json!({ "message": "still here" }));

    let page = app.server.get_admin("/metrics");
    let dropped: usize = page
        .text()
        .lines()
        .filter(|line| line.starts_with("yamabiko_broker_dropped_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap())
        .sum();
    assert_eq!(dropped, junk.len(), "{}", page.text());
}

#[test]
fn a_token_made_in_php_connects() {
    let app = App::start();
    let token = app.php("token.php", &["7", "あおい", "chat:default"]);
    let mut aoi = Client::with_token(&app.server, &token).expect("PHP's token is good");
    aoi.say(&json!({ "message": "hi", "name": "Aoi" }));
    aoi.expect_sent();
    assert_eq!(aoi.expect_json()["sender"], json!({ "name": "あおい", "id": 7 }));
}

/// Values of a `.env` file.
const VALUES: &[&str] = &[
    "plain",
    "Kp$9xRt7",
    "a&b",
    "a;b",
    "(a)",
    "a|b>c<d*e?f~g!h",
    "a`b",
    "a\\b",
    "a\"b'c",
    "a#b",
    "a #b",
    "#b",
    "$",
    "$$",
    "$HOME",
    "${HOME}",
    "${HOME",
    "${NOTHING}",
    "${HOME}${HOME}/$x",
    "a b",
    " a",
    "a ",
    "\"a b\"",
    "'a b'",
    "\"a\"b",
    "'a' b",
    "'a' # b",
    "\"a\"#b",
    "'$HOME ${HOME} \\n \" # '",
    "\"$HOME ${HOME} \\${HOME} \\$HOME\"",
    "\"a\\\"b\\\\c\\n\\r\\t\\f\\v\"",
    "\"a\\d\"",
    "\"a\nb\"",
    "\"a\n\"",
    "\"\n\nb c\n\"",
    "'a\nb'",
    "\"a",
    "'a",
    "\"a\\\"",
    "\"a\\\\\"",
    "=",
    "a=b",
    "=\"a\"",
    "x=\"a",
    "base64:Zm9v+/==",
    "日本 ",
    "山#川",
    "\"山 川\"",
    "null",
    "true",
    "''x",
    "\t\"a\"\t# b",
    "a\u{b}",
    "a\u{a0}b",
    "$'a'",
    "\"${HOME}'\"",
    "\"'\"",
    "'\"'",
];

#[test]
fn an_env_file_is_read_as_phpdotenv_reads_it() {
    let mut texts: Vec<String> = VALUES.iter().map(|value| format!("VALUE={value}")).collect();
    texts.extend(
        [
            "# VALUE=1\nVALUE=2",
            "VALUE=1\r\nVALUE=2\r\n",
            "VALUE = 1",
            "export VALUE=1",
            "export\tVALUE=1",
            "\"VALUE\"=1",
            "'VALUE'=1",
            "A=x\nVALUE=${A}y",
            "VALUE=1\n=2",
            "A-B=1\nVALUE=2",
            "VALUE=1\nVALUE",
            "VALUE",
            "A.B=1\nVALUE=${A.B}",
            "VALUE=${A}\nA=1",
            "HOME=/mine\nVALUE=$HOME${HOME}",
            "VALUE=1\rA=2",
            "  # comment\n\n  VALUE=1  ",
            "A=\"x\ny\"\nVALUE=1",
            "A=' # '\nVALUE=1",
        ]
        .map(str::to_owned),
    );
    // And whatever else there is: the same in every run.
    let mut state: u32 = 7;
    let alphabet: Vec<char> = "ab \"'\\$#{}=\n(&".chars().collect();
    for _ in 0..3000 {
        let mut text = "VALUE=".to_owned();
        for _ in 0..8 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push(alphabet[(state >> 16) as usize % alphabet.len()]);
        }
        texts.push(text);
    }
    let expected: Vec<Option<String>> =
        serde_json::from_str(&php_reads("dotenv.php", &serde_json::to_string(&texts).unwrap())).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".env");
    let mut refused = 0;
    for (text, expected) in texts.iter().zip(expected) {
        std::fs::write(&path, text).unwrap();
        let environment: Environment = [("HOME", "/root")].into_iter().collect();
        let Some(expected) = expected else {
            assert!(environment.with_file(&path).is_err(), "Laravel refuses {text:?}");
            refused += 1;
            continue;
        };
        let expected = String::from_utf8(STANDARD.decode(expected).unwrap()).unwrap();
        match environment.with_file(&path) {
            Ok(environment) => assert_eq!(environment.get("VALUE").unwrap_or_default(), expected, "{text:?}"),
            // Laravel drops what an open quote begins without a word.
            Err(error) => assert!(error.to_string().ends_with("a quote is not closed"), "{text:?}: {error}"),
        }
    }
    assert!((100..2900).contains(&refused), "{refused}");
}

/// Runs a script that needs no Redis.
fn php_reads(script: &str, input: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/laravel");
    let mut php = Command::new("php")
        .arg(folder.join(script))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("php runs");
    php.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = php.wait_with_output().unwrap();
    assert!(output.status.success(), "{script}");
    String::from_utf8(output.stdout).unwrap()
}

/// A Redis, a server on it, and the scripts in `tests/laravel`.
struct App {
    server: Server,
    redis: RedisServer,
}

impl App {
    fn start() -> Self {
        let redis = RedisServer::start();
        let server = Server::start(|options| {
            options.set("redis.url", redis.url()).set("redis.prefix", PREFIX);
        });
        let app = Self { server, redis };
        crate::support::eventually("the server is subscribed", || {
            app.server.metric("yamabiko_broker_up") == 1
        });
        app
    }

    fn connect(&self, channel: &str) -> Client {
        Client::connect(&self.server, &claims(7, "Aoi", channel)).expect("the token is good")
    }

    /// Publishes and returns how many Redis clients received it.
    fn publish(&self, channel: &str, data: &Value) -> String {
        self.php("publish.php", &[channel, &data.to_string()])
    }

    fn publish_as(&self, channel: &str, data: &Value, sender: &Value) {
        self.php("publish.php", &[channel, &data.to_string(), &sender.to_string()]);
    }

    fn php(&self, script: &str, arguments: &[&str]) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/laravel");
        let output = Command::new("php")
            .arg(folder.join(script))
            .args(arguments)
            .env("REDIS_PORT", self.redis.url().rsplit(':').next().unwrap())
            .env("REDIS_PREFIX", PREFIX)
            .env("APP_WS_JWT_SECRET", SECRET)
            .output()
            .expect("php runs");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{script}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }
}
