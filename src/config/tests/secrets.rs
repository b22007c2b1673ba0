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
