//! The apps of Laravel Echo, from a file and from Laravel's variables.

use secrecy::ExposeSecret;

use super::*;

#[test]
fn apps_are_read_from_a_file() {
    let text = r#"
        [pusher]
        client_events = true
        event_bytes = 100
        origins = ["https://a.example"]
        [[pusher.webhooks]]
        url = "https://a.example/hook"
        [[apps]]
        id = "1"
        key = "k1"
        secret = "s1"
        previous_secrets = ["s0"]
        client_events = false
        activity_timeout = "9s"
        [[apps]]
        id = "2"
        key = "k2"
        secret = "s2"
        enabled = false
        [[apps.webhooks]]
        url = "https://b.example/hook"
        events = ["channel_occupied", "member_added"]
    "#;
    let config = with(text, &[("YAMABIKO__PUSHER__PONG_TIMEOUT", "7s")]).unwrap();
    let server = &config.settings.server;
    let [one, two] = server.apps.as_slice() else { panic!("{:?}", server.apps) };
    let rules = one.with_defaults(&server.pusher);
    assert_eq!((rules.client_events, rules.event_bytes, rules.webhooks.len()), (false, 100, 1));
    assert_eq!((rules.activity_timeout.as_secs(), rules.pong_timeout.as_secs()), (9, 7));
    assert_eq!(one.previous_secrets[0].expose_secret(), "s0");
    assert!(one.enabled && !two.enabled);
    assert_eq!(two.with_defaults(&server.pusher).webhooks[0].events.len(), 2);
    assert!(origin(&config, "", "apps").unwrap().ends_with("yamabiko.toml"));
    assert_eq!(origin(&config, "pusher", "pong_timeout"), Some("YAMABIKO__PUSHER__PONG_TIMEOUT"));
    assert!(config.warnings.is_empty());
}

#[test]
fn laravels_variables_define_apps() {
    let pusher = [("PUSHER_APP_ID", "1"), ("PUSHER_APP_KEY", "pk"), ("PUSHER_APP_SECRET", "ps")];
    let reverb = [("REVERB_APP_ID", "2"), ("REVERB_APP_KEY", "rk"), ("REVERB_APP_SECRET", "rs")];
    let whole = ("YAMABIKO__APPS", r#"[{ id = "3", key = "yk", secret = "ys", event_bytes = 9 }]"#);
    let key = |variables: &[(&str, &str)]| {
        let config = env(variables);
        let keys: Vec<_> = config.settings.server.apps.iter().map(|app| app.key.clone()).collect();
        (keys.join(" "), origin(&config, "", "apps").unwrap().to_owned())
    };
    let of = |key: &str, origin: &str| (key.to_owned(), origin.to_owned());
    assert_eq!(key(&pusher), of("pk", "PUSHER_APP_ID, PUSHER_APP_KEY, PUSHER_APP_SECRET"));
    assert_eq!(key(&reverb), of("rk", "REVERB_APP_ID, REVERB_APP_KEY, REVERB_APP_SECRET"));
    assert_eq!(
        key(&[pusher, reverb].concat()).0,
        "pk rk",
        "an application in migration has pages of both kinds"
    );
    let same_id = [("REVERB_APP_ID", "1"), reverb[1], reverb[2]];
    let same_key = [reverb[0], ("REVERB_APP_KEY", "pk"), reverb[2]];
    assert_eq!(
        key(&[pusher, same_id].concat()),
        of("pk", "PUSHER_APP_ID, PUSHER_APP_KEY, PUSHER_APP_SECRET")
    );
    assert_eq!(key(&[pusher, same_key].concat()).0, "pk");
    assert_eq!(key(&[&pusher[..], &[whole]].concat()), of("yk", "YAMABIKO__APPS"));
    // Unset, as `.env` files leave the variables of the driver that is not used.
    let nothing = [("PUSHER_APP_ID", ""), ("PUSHER_APP_KEY", "null")];
    assert_eq!(key(&[&nothing[..], &reverb].concat()).0, "rk");

    let found = problems("", &pusher[1..]);
    let expected = "PUSHER_APP_ID: must be set together with PUSHER_APP_KEY and PUSHER_APP_SECRET: an app needs an id, a key and a secret";
    assert_eq!(found, [expected]);
    // Also if Reverb's are complete.
    let found = problems("", &[&pusher[..1], &reverb].concat());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("PUSHER_APP_KEY and PUSHER_APP_SECRET: must be set together with PUSHER_APP_ID")
    );
    let found = problems("", &[&pusher[..], &reverb[..1]].concat());
    assert!(
        found[0].starts_with("REVERB_APP_KEY and REVERB_APP_SECRET: must be set together with REVERB_APP_ID"),
        "{found:?}"
    );
    assert!(with("", &[&pusher[..1], &[whole]].concat()).is_ok(), "YAMABIKO__APPS wins");
}

#[test]
fn apps_of_a_file_are_replaced_with_a_warning() {
    let text = "[[apps]]\nid = \"f\"\nkey = \"f\"\nsecret = \"f\"\n";
    let variables = [("REVERB_APP_ID", "2"), ("REVERB_APP_KEY", "rk"), ("REVERB_APP_SECRET", "rs")];
    let config = with(text, &variables).unwrap();
    assert_eq!(config.settings.server.apps.len(), 1);
    assert_eq!(config.settings.server.apps[0].id, "2");
    let warning = config.warnings[0].to_string();
    assert!(warning.contains("yamabiko.toml are ignored") && warning.contains("REVERB_APP_ID"), "{warning}");
    assert!(with("apps = []", &variables).unwrap().warnings.is_empty());
}

#[test]
fn problems_of_apps_are_reported_with_their_place() {
    let text = r#"
        [pusher]
        event_bytes = 0
        presence_member = 1
        cache_ttl = "soon"
        webhooks = [{ url = "a.example" }]
        [[apps]]
        id = 1
        key = "k:k"
        scret = "hunter2"
        pong_timeout = "forever"
        conections = 1
        previous_secrets = [["hunter2"]]
        [[apps]]
        id = "2"
        key = "k"
        secret = "hunter2"
        enabled = "yes"
        connections = -1
        [[apps.webhooks]]
        events = ["channel_vacate"]
        [[apps.webhooks]]
        url = "https://a.example/"
        events = ["channel_vacate"]
        [[apps.webhooks]]
        url = "https://a.example/"
        headers = { X-Tenant = 7 }
        [[apps.webhooks]]
        url = "https://a.example/"
        filter = { channel_starts_with = "private-" }
    "#;
    let expected = [
        "pusher.presence_member: unknown setting; did you mean presence_members? (from /",
        "pusher.cache_ttl: must be a duration such as \"10s\" or \"1m 30s\", not \"soon\" (from /",
        "apps[0].id: must be a string (from /",
        "apps[0].secret: is required: Laravel's PUSHER_APP_SECRET",
        "apps[0].scret: unknown setting; did you mean secret? (from /",
        "apps[0].pong_timeout: must be a duration such as \"10s\"",
        "apps[0].conections: unknown setting; did you mean connections? (from /",
        "apps[0].previous_secrets: must be a list of strings (from /",
        "apps[1].enabled: must be true or false (from /",
        "apps[1].connections: must be a whole number of at least 0, not -1 (from /",
        "apps[1].webhooks[0].url: is required, such as \"https://app.example.com/webhook\" (from /",
        "apps[1].webhooks[1].events: unknown variant `channel_vacate`",
        "pusher.event_bytes: must be at least 1 (from /",
        "apps[1].webhooks[2].headers: must be a table of strings, such as { name = \"value\" } (from /",
        "apps[1].webhooks[3].filter: unknown field `channel_starts_with`, expected `channel_name_starts_with`",
        "pusher.webhooks: number 0: the url is not one of http or https",
    ];
    let environment = Environment::default();
    let found = load(Some(&file(text).path), &environment, AuthKeys::Required).unwrap_err();
    let found: Vec<_> = found.0.iter().map(ToString::to_string).collect();
    for wanted in expected {
        assert!(found.iter().any(|problem| problem.starts_with(wanted)), "{wanted}\nin {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(!found.concat().contains("hunter2"), "{found:#?}");

    let good = "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s\"\n";
    for (setting, start) in [
        ("[apps]\nid = \"1\"", "apps: must be tables, each under [[apps]]"),
        ("apps = [1]", "apps[0]: must be a table under [[apps]]"),
        (&format!("{good}{good}").replacen("\"k\"", "\"l\"", 1), "apps[1].id: \"1\" is also another app's"),
        (&good.replace("\"s\"", "\"\""), "apps[0].secret: an app needs a secret"),
        (
            &format!(
                "{good}webhooks = [{{ url = \"http://a/\", headers = {{ X-Pusher-Key = \"hunter2\" }} }}]"
            ),
            "apps[0].webhooks: number 0: the header \"X-Pusher-Key\" is set by the server and cannot be changed",
        ),
        (&good.replace("\"k\"", "\"k:k\""), "apps[0].key: an app's key may only contain letters"),
        (&format!("{good}event_bytes = 0"), "apps[0].event_bytes: must be at least 1"),
        (&format!("{good}origins = [\"*\"]"), "apps[0].origins: \"*\" is not an origin"),
        (
            &format!("[pusher]\nactivity_timeout = \"0s\"\n{good}"),
            "pusher.activity_timeout: must be whole seconds",
        ),
        ("[pusher]\norigins = [\"a\"]", "pusher.origins: \"a\" is not an origin"),
        (
            "[pusher]\norigins = [\"https://*example.com\"]",
            "pusher.origins: \"https://*example.com\" is not an origin; a * stands before a whole host name",
        ),
        (
            "[pusher]\nauthorization_timeout = \"1500ms\"",
            "pusher.authorization_timeout: must be whole seconds",
        ),
    ] {
        let found = problem(setting, &[]);
        assert!(found.starts_with(start), "{setting}\n{found}");
    }
    assert!(problem("", &[("YAMABIKO____APPS", "[]")]).contains("unknown setting"));
    let found = problem("", &[("YAMABIKO__APPS", "[{ secret = \"hunter2 }]")]);
    assert!(found.starts_with("apps: must be a TOML array such as [{ id = "), "{found}");
    assert!(!found.contains("hunter2"));
}

#[test]
fn a_member_list_that_exceeds_the_outbox_is_a_warning() {
    let app = |more: &str| format!("[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s\"\n{more}\n");
    let warnings_of = |text: &str| {
        let warnings = with(text, &[]).unwrap().warnings;
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let of_all = format!("[pusher]\npresence_members = 1025\n{}", app(""));
    let warnings = warnings_of(&of_all);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with(
        "pusher.presence_members: 1025 members with up to 1024 bytes of presence_user_bytes each are 1049600 bytes, and \
         limits.outbox_bytes is 1048576"
    ));
    assert!(warnings[0].contains("(from /"), "{warnings:?}");
    // Exactly the limit.
    let exact = of_all.replace("1025", "1024");
    assert_eq!([warnings_of(&exact), warnings_of(&app(""))], [[""; 0]; 2]);
    // An app with its own rules, for which those of [pusher] do not matter.
    let own = warnings_of(&format!("[limits]\noutbox_bytes = 65536\n{}", app("presence_user_bytes = 656")));
    assert_eq!(own.len(), 1, "{own:?}");
    assert!(
        own[0].starts_with("apps[0].presence_members: 100 members") && own[0].contains("65600 bytes"),
        "{own:?}"
    );
    assert_eq!(warnings_of(&format!("{of_all}presence_members = 10")), [""; 0]);
    assert_eq!(warnings_of(&format!("{of_all}enabled = false")), [""; 0]);
    // The largest number does not overflow.
    assert_eq!(warnings_of(&app("presence_members = 9223372036854775807")).len(), 1);
}

#[test]
fn events_that_exceed_the_outbox_are_a_warning() {
    let app = |more: &str| format!("[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s\"\n{more}\n");
    let warnings_of = |text: &str| {
        let warnings = with(text, &[]).unwrap().warnings;
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let of_all = warnings_of(&format!("[pusher]\nevent_bytes = 524289\n{}", app("")));
    assert_eq!(of_all.len(), 1, "{of_all:?}");
    assert!(
        of_all[0].starts_with(
            "pusher.event_bytes: an event of 524289 bytes may take 1048578 on the wire, and limits.outbox_bytes is 1048576"
        ),
        "{of_all:?}"
    );
    assert!(of_all[0].contains("(from /"), "{of_all:?}");
    // The value of the migration recipes, and exactly the limit.
    for good in [262_144, 524_288] {
        assert_eq!(warnings_of(&format!("[pusher]\nevent_bytes = {good}\n{}", app(""))), [""; 0]);
    }
    let own = warnings_of(&app("event_bytes = 9223372036854775807"));
    assert_eq!(own.len(), 1, "{own:?}");
    assert!(own[0].starts_with("apps[0].event_bytes: "), "{own:?}");
}
