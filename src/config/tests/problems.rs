//! Invalid settings and their messages.

use super::*;

#[test]
fn every_problem_is_reported_in_one_go_with_its_source() {
    let text = r#"
        colour = 1
        [server]
        prot = 9000
        port = "8080"
        [heartbeat]
        interval = "soon"
        timeout = 10
        [admin]
        listen = "everywhere"
        [channels.chat]
        feilds = []
        [[auth.keys]]
        algorithm = "RS256"
        pubic_key_file = "x"
        [sevrer]
        a = 1
    "#;
    let found = problems(
        text,
        &[
            ("YAMABIKO__LIMITS__BURST", "many"),
            ("YAMABIKO__SERVER__HSOT", "x"),
            ("YAMABIKO__LOG__FORMAT", "xml"),
            ("APP_WS_PORT", "70000"),
        ],
    );
    let expected = [
        "server.prot: unknown setting; did you mean port? (from /",
        "server.port: must be a whole number, not \"8080\" (from /",
        "heartbeat.interval: must be a duration such as \"10s\" or \"1m 30s\", not \"soon\" (from /",
        "heartbeat.timeout: must be a string such as \"10s\", not 10 (from /",
        "admin.listen: must be an IP address and a port such as \"127.0.0.1:8081\", not \"everywhere\" (from /",
        "channels.chat.feilds: unknown setting; did you mean fields? (from /",
        "auth.keys[0].pubic_key_file: unknown setting; did you mean public_key_file? (from /",
        "sevrer: unknown section; did you mean [server]? (from /",
        "colour: unknown section (from /",
        "YAMABIKO__SERVER__HSOT: unknown setting; did you mean YAMABIKO__SERVER__HOST?",
        "limits.burst: must be a whole number, not \"many\" (from YAMABIKO__LIMITS__BURST)",
        "log.format: \"xml\" is invalid: unknown variant `xml`, expected `text` or `json` (from YAMABIKO__LOG__FORMAT)",
        "server.port: must be a whole number from 0 to 65535, not 70000 (from APP_WS_PORT)",
    ];
    for wanted in expected {
        assert!(found.iter().any(|problem| problem.starts_with(wanted)), "{wanted}\nin {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn invalid_settings_are_rejected() {
    for (setting, key) in [
        ("[server]\nhost = \"\"", "server.host"),
        ("[server]\norigins = [\"https://a.example/\"]", "server.origins"),
        ("[server]\norigins = [\"a.example\"]", "server.origins"),
        ("[server]\norigins = [\"*\"]", "server.origins"),
        ("[server]\nport = 8081", "admin.listen"),
        ("[server]\nport = 8081\nhost = \"localhost\"", "admin.listen"),
        ("[admin]\nhosts = [\"http://yamabiko\"]", "admin.hosts"),
        ("[admin]\nhosts = [\"yamabiko:8081\"]", "admin.hosts"),
        ("[limits]\nkeep_alive_timeout = \"0s\"", "limits.keep_alive_timeout"),
        ("[server]\ntrusted_proxies = [\"10.0.0.0/33\"]", "server.trusted_proxies"),
        ("[redis]\npublish_timeout = \"0s\"", "redis.publish_timeout"),
        ("[limits]\nhandshake_timeout = \"0s\"", "limits.handshake_timeout"),
        ("[limits]\nmessage_bytes = 0", "limits.message_bytes"),
        ("[limits]\nburst = 0", "limits.burst"),
        ("[limits]\nconnections = -1", "limits.connections"),
        ("[limits]\noutbox_bytes = 100", "limits.outbox_bytes"),
        ("[limits]\nqueue_bytes = 100", "limits.queue_bytes"),
        ("[heartbeat]\ninterval = \"0s\"", "heartbeat.interval"),
        ("[heartbeat]\ninterval = \"1500ms\"", "heartbeat.interval"),
        ("[heartbeat]\ntimeout = \"0s\"", "heartbeat.timeout"),
        ("[redis]\nurl = \"127.0.0.1:6379\"", "redis.url"),
        ("[redis]\nurl = \"http://127.0.0.1\"", "redis.url"),
        ("[log]\nlevel = \"a=b=c\"", "log.level"),
        ("[log]\nlevel = \"warning\"", "log.level"),
        ("[channels.\"chat:a\"]\ntargeting = true", "channels.\"chat:a\".targeting"),
        ("[channels.\"\"]\ntargeting = true", "channels.\"\".targeting"),
        ("[channels.\"a\\u0007\"]\ntargeting = true", "channels.\"a\\u0007\".targeting"),
        ("[channels.chat]\nfields = [\"message\", \"*\"]", "channels.chat.fields"),
        ("[channels.chat]\nfields = \"message\"", "channels.chat.fields"),
        ("[auth]\nleeway = \"1500ms\"", "auth.leeway"),
        ("[auth]\nalgorithms = [\"none\"]", "auth.algorithms"),
        ("[[auth.keys]]\nalgorithm = \"RS256\"", "auth.keys[0].public_key_file"),
        ("[[auth.keys]]\nkid = \"a\"", "auth.keys[0].algorithm"),
    ] {
        let found = problem(setting, &[]);
        assert!(found.starts_with(&format!("{key}: ")), "{setting}\n{found}");
    }
    for good in [
        "[server]\norigins = [\"https://a.example:8443\", \"https://*.a.example:8443\", \"null\", \"capacitor://localhost\", \"http://[::1]:3000\"]",
        "[server]\nport = 8081\nhost = \"192.0.2.1\"",
        "[server]\nport = 0\nshutdown_grace = \"0s\"\n[admin]\nlisten = \"127.0.0.1:0\"",
        "[log]\nlevel = \"info,yamabiko::broker=debug\"",
        "[channels.chat]\nfields = \"*\"\n[channels.\"*\"]\nfields = [\"title\"]\nclient_send = false",
        "[redis]\nurl = \"rediss://:p%40ss@redis.example:6380/1\"",
    ] {
        assert!(with(good, &[]).is_ok(), "{good}\n{:?}", with(good, &[]).err());
    }
}

#[test]
fn every_duration_has_a_maximum() {
    const APP: &str = "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"a secret of the tests\"\n";
    const GATE: &str = "[events]\nsecret = \"0123456789abcdef0123456789abcdef\"\n[channels.chat.gate]\nurl = \"http://app/\"\n";
    let defaults = load(None, &Environment::default(), AuthKeys::Optional).unwrap();
    let is_duration = |value: &serde_json::Value| {
        value.as_str().is_some_and(|text| humantime::parse_duration(text).is_ok())
    };
    let durations = defaults.entries.iter().filter(|entry| is_duration(&entry.value));
    let mut all: Vec<(String, &str, String)> = durations
        .map(|entry| (format!("[{}]\n", entry.key.table()), &*entry.key.name, entry.key.to_string()))
        .collect();
    assert!(all.len() > 10, "{all:?}");
    for name in ["activity_timeout", "pong_timeout", "authorization_timeout", "cache_ttl"] {
        all.push((APP.to_owned(), name, format!("apps[0].{name}")));
    }
    all.push((GATE.to_owned(), "timeout", "channels.chat.gate.timeout".to_owned()));
    for (table, name, key) in all {
        for too_long in ["300000000000y", "11years"] {
            let found = problem(&format!("{table}{name} = \"{too_long}\""), &[]);
            assert!(found.starts_with(&format!("{key}: must be at most 10years (from ")), "{found}");
        }
        let longest = format!("{table}{name} = \"10years\"");
        assert!(with(&longest, &[]).is_ok(), "{longest}");
    }
}

#[test]
fn without_credentials_the_problem_says_what_to_set() {
    let nothing = Environment::default();
    let found = load(None, &nothing, AuthKeys::Required).unwrap_err().to_string();
    assert!(found.contains("YAMABIKO__AUTH__SECRET") && found.contains("APP_WS_JWT_SECRET"), "{found}");
    assert!(found.contains("PUSHER_APP_KEY"), "{found}");
    let app = [("PUSHER_APP_ID", "1"), ("PUSHER_APP_KEY", "k"), ("PUSHER_APP_SECRET", "s")];
    assert!(load(None, &Environment::from_iter(app), AuthKeys::Required).is_ok());
    assert!(load(None, &nothing, AuthKeys::Optional).is_ok());
    assert!(load(None, &Environment::from_iter([SECRET]), AuthKeys::Required).is_ok());
}

#[test]
fn a_missing_file_is_a_problem() {
    let found =
        load(Some("/nowhere/y.toml".as_ref()), &Environment::default(), AuthKeys::Optional).unwrap_err();
    assert_eq!(found.0.len(), 1);
    assert!(found.to_string().starts_with("/nowhere/y.toml: cannot be read"), "{found}");
}

#[test]
fn a_variable_with_a_single_underscore_is_a_warning() {
    let variables = [
        ("YAMABIKO_SERVER_PORT", "9000"),
        ("YAMABIKO_APPS", "[]"),
        // Set by others: systemd units, Compose files and Kubernetes use such names.
        ("YAMABIKO_DOMAIN", "ws.example.com"),
        ("YAMABIKO_PORT", "tcp://10.0.0.1:8080"),
        ("YAMABIKO_CONFIG", "y.toml"),
        ("SERVER_PORT", "9000"),
    ];
    let config = env(&variables);
    assert_eq!(config.settings.server.server.port, 8080);
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "YAMABIKO_APPS: is ignored; did you mean YAMABIKO__APPS, with two underscores?",
            "YAMABIKO_SERVER_PORT: is ignored; did you mean YAMABIKO__SERVER__PORT, with two underscores?",
        ]
    );
}

#[test]
fn odd_secrets_are_warnings() {
    let problems_of = |secret: &str| {
        let config = env(&[("YAMABIKO__AUTH__SECRET", secret)]);
        config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let quoted = format!("{:?}", SECRET.1);
    let found = problems_of(&quoted);
    assert!(found.starts_with("auth.secret: is in quotation marks, which are part of it"), "{found}");
    assert!(found.ends_with("(from YAMABIKO__AUTH__SECRET)") && !found.contains(SECRET.1), "{found}");
    let spaced = format!("{} of mine and some more ", SECRET.1);
    assert!(problems_of(&spaced).contains("white space"));
    let commented = format!("{} # of the old server", SECRET.1);
    assert!(problems_of(&commented).contains("a comment after a value"));
    for good in ["\"", "'one", "#", "a#b"].map(|odd| format!("{odd}{}", SECRET.1)) {
        assert_eq!(problems_of(&good), "", "{good}");
    }
    let app = [("PUSHER_APP_ID", "1"), ("PUSHER_APP_KEY", "k"), ("PUSHER_APP_SECRET", " s")];
    let warnings = env(&app).warnings;
    assert!(warnings[0].to_string().starts_with("apps[0].secret: begins or ends"), "{warnings:?}");
}
