//! Secrets are never shown.

use super::*;

#[test]
fn shown_settings_are_toml_with_origins_and_without_secrets() {
    let text = r#"
        [[auth.keys]]
        algorithm = "HS256"
        kid = "old"
        secret = "hunter2-in-a-key"
        [[pusher.webhooks]]
        url = "https://hook:hunter2@a.example:8443/hunter2/hook?token=hunter2#hunter2"
        headers = { x-token = "hunter2" }
        [[apps]]
        id = "1"
        key = "my-key"
        secret = "hunter2-in-an-app"
        previous_secrets = ["hunter2-before", "hunter2-long-ago"]
        webhooks = [{ url = "https://hunter2@b.example?token=hunter2" }, { url = "https://c.example/" }]
        [tracing]
        endpoint = "https://hunter2@d.example/hunter2"
        headers = { X-Key = "hunter2" }
    "#;
    let config = with(
        text,
        &[
            ("YAMABIKO__AUTH__SECRET", "hunter2-in-auth"),
            ("REDIS_HOST", "r"),
            ("REDIS_USERNAME", "app"),
            ("REDIS_PASSWORD", "hunter2@in:redis"),
            ("YAMABIKO__CHANNELS__NEWS__FIELDS", "a\"b,c"),
        ],
    )
    .unwrap();
    let shown = show(&config);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("secret = \"********\"  # YAMABIKO__AUTH__SECRET\n"), "{shown}");
    let redis = "url = \"redis://app:********@r:6379\"  # REDIS_HOST, REDIS_USERNAME, REDIS_PASSWORD\n";
    assert!(shown.contains(redis), "{shown}");
    assert!(shown.contains("port = 8080  # default\n"), "{shown}");
    assert!(
        shown.contains("[channels.news]\nfields = [\"a\\\"b\", \"c\"]  # YAMABIKO__CHANNELS__NEWS__FIELDS\n")
    );
    assert!(
        shown.contains(
            "key = \"my-key\", previous_secrets = [\"********\", \"********\"], secret = \"********\""
        ),
        "{shown}"
    );
    for url in [
        "********@a.example:8443/********",
        "********@b.example/********",
        "c.example/",
        "********@d.example/********",
    ] {
        assert!(shown.contains(&format!("\"https://{url}\"")), "{url}\n{shown}");
    }
    for headers in ["{ x-token = \"********\" }", "{ X-Key = \"********\" }"] {
        assert!(shown.contains(&format!("headers = {headers}")), "{headers}\n{shown}");
    }
    // The output is a valid settings file.
    let again = with(&shown, &[]).unwrap();
    assert_eq!(again.entries.len(), config.entries.len());
    assert_eq!(show(&env(&[])).matches("# default").count(), env(&[]).entries.len());
}

#[test]
fn no_problem_shows_a_secret() {
    let text = "[auth]\nsecret = [\"hunter2\"]\n[redis]\nurl = \"redis://:hunter2@r:x\"\n\
                [[auth.keys]]\nalgorithm = \"HS256\"\nsecret = { hunter2 = 1 }\n";
    for variables in [vec![], vec![("YAMABIKO__AUTH__KEYS", "[{ secret = \"hunter2 }]")]] {
        let found = problems(text, &variables);
        assert!(found.len() >= 3, "{found:#?}");
        assert!(!found.concat().contains("hunter2"), "{found:#?}");
    }
    let config = with("", &[("APP_WS_JWT_SECRET", "hunter2"), ("REDIS_URL", "redis://:hunter2@r")]).unwrap();
    let debug = format!("{config:?}");
    assert!(!debug.contains("hunter2"), "{debug}");
}

#[test]
fn the_placeholder_of_an_example_is_refused_wherever_a_secret_stands() {
    let text = r#"
        [[auth.keys]]
        algorithm = "HS256"
        secret = "change-me-to-the-output-of-openssl-rand-hex-32"
        [events]
        secret = "CHANGE_ME to the output of openssl rand -hex 32"
        [[api.keys]]
        name = "laravel"
        secret = "ChangeMe-1234567890-1234567890-1234567890"
        scopes = ["read"]
    "#;
    let variables = [
        ("APP_WS_JWT_SECRET", "change-me-to-the-output-of-openssl-rand-hex-32"),
        ("PUSHER_APP_ID", "1"),
        ("PUSHER_APP_KEY", "key"),
        ("PUSHER_APP_SECRET", "change-me-to-the-output-of-openssl-rand-hex-20"),
    ];
    let found = problems(text, &variables);
    let at = ["auth.secret", "events.secret", "auth.keys[0].secret", "apps[0].secret", "api.keys[0].secret"];
    assert_eq!(found.len(), at.len(), "{found:#?}");
    for (problem, at) in found.iter().zip(at) {
        assert!(problem.starts_with(&format!("{at}: is the placeholder of an example")), "{problem}");
        assert!(problem.contains("`openssl rand -hex 32`"), "{problem}");
        assert!(!problem.to_lowercase().contains("change"), "{problem}");
    }
    assert!(found[0].ends_with("(from APP_WS_JWT_SECRET)"), "{}", found[0]);
    // Only the beginning tells: a secret of random letters may contain the word.
    with("", &[("APP_WS_JWT_SECRET", "x-change-me-1234567890-1234567890-1234567890")]).unwrap();
}
