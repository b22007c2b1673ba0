//! The room as others see it: a file and an environment in, settings with their origins or all problems out.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::schema::{DEFAULTS, Schema};
use super::*;
use crate::telemetry::Format;

const SECRET: (&str, &str) = ("YAMABIKO__AUTH__SECRET", "a secret of thirty-two bytes or so");

struct File {
    _directory: TempDir,
    path: PathBuf,
}

fn file(text: &str) -> File {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("yamabiko.toml");
    std::fs::write(&path, text).unwrap();
    File { _directory: directory, path }
}

fn with(text: &str, variables: &[(&str, &str)]) -> Result<Config, Problems> {
    let environment: Environment = variables.iter().copied().collect();
    load(Some(&file(text).path), &environment, AuthKeys::Optional)
}

fn env(variables: &[(&str, &str)]) -> Config {
    load(None, &variables.iter().copied().collect(), AuthKeys::Optional).unwrap()
}

fn problems(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    with(text, variables).unwrap_err().0.iter().map(ToString::to_string).collect()
}

fn problem(text: &str, variables: &[(&str, &str)]) -> String {
    let found = problems(text, variables);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.into_iter().next().unwrap()
}

fn origin<'a>(config: &'a Config, section: &str, name: &str) -> Option<&'a str> {
    config.origin(&Key::new(section, name))
}

#[test]
fn the_defaults_are_sound_and_complete() {
    let config = env(&[]);
    assert_eq!(config.settings.server.server.port, 8080);
    assert_eq!(config.settings.server.heartbeat.interval, Duration::from_secs(30));
    assert_eq!(config.settings.server.channels["chat"].fields.as_deref().unwrap(), ["message", "name"]);
    assert_eq!(config.settings.log.format, Format::Text);
    assert!(config.entries.iter().all(|entry| entry.origin.is_none()));
    assert!(config.warnings.is_empty());
}

/// The settings' structs have no defaults of their own and refuse unknown keys. So taking any line away from the
/// file, or adding one, is an error: the file documents every key, and each key reaches a struct.
#[test]
fn every_key_is_documented_and_read() {
    let tables = ::config::Source::collect(&super::schema::defaults()).unwrap();
    let whole: serde_json::Map<_, _> =
        tables.iter().map(|(name, value)| (name.clone(), super::layer::to_json(value))).collect();
    Settings::deserialize(&whole).unwrap();
    let schema = Schema::read().unwrap();
    assert!(schema.keys().count() > 25);
    for key in schema.keys() {
        let line = DEFAULTS.lines().find(|line| line.starts_with(&format!("{} = ", key.name)));
        assert!(line.is_some(), "{key}");
        if key.section.is_empty() {
            continue;
        }
        let mut without = whole.clone();
        without[&key.section].as_object_mut().unwrap().remove(&key.name);
        // Those of [pusher] have defaults of their own, see below.
        let is_needed = key.section != "pusher";
        assert_eq!(Settings::deserialize(&without).is_err(), is_needed, "{key} is not needed");
        let mut more = whole.clone();
        let section = more[&key.section].as_object_mut().unwrap();
        section.insert("surplus".to_owned(), serde_json::json!(1));
        assert!(Settings::deserialize(&more).is_err(), "[{}] takes anything", key.section);
    }
}

/// The protocol's settings have defaults for those who use it without this room: the same ones, and no others.
#[test]
fn the_defaults_of_the_pusher_protocol_are_its_own() {
    let of_file = format!("{:#?}", env(&[]).settings.server.pusher);
    assert_eq!(of_file, format!("{:#?}", crate::protocol::pusher::PusherSettings::default()));
    let schema = Schema::read().unwrap();
    let fields: Vec<&str> = of_file
        .lines()
        .filter_map(|line| line.strip_prefix("    ")?.split_once(": "))
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with(' '))
        .collect();
    let documented: Vec<&str> =
        schema.keys().filter(|key| key.section == "pusher").map(|key| &*key.name).collect();
    assert_eq!(documented, fields);
    for name in ["id", "key", "secret", "previous_secrets", "enabled"] {
        assert!(DEFAULTS.contains(&format!("\n#   {name} = ")), "{name}");
    }
}

#[test]
fn the_later_layer_wins_and_is_named() {
    let text = "[server]\nport = 9000\nhost = \"127.0.0.1\"\n";
    let config = with(text, &[("YAMABIKO__SERVER__PORT", "9001")]).unwrap();
    assert_eq!(config.settings.server.server.port, 9001);
    assert_eq!(config.settings.server.server.host, "127.0.0.1");
    assert_eq!(origin(&config, "server", "port"), Some("YAMABIKO__SERVER__PORT"));
    assert!(origin(&config, "server", "host").unwrap().ends_with("yamabiko.toml"));
    assert_eq!(origin(&config, "server", "origins"), None);
}

#[test]
fn the_environment_is_read_by_the_type_of_the_setting() {
    let config = env(&[
        ("YAMABIKO__AUTH__SECRET", "0123"),
        ("YAMABIKO__REDIS__PREFIX", "true"),
        ("YAMABIKO__SERVER__ORIGINS", "https://a.example, http://localhost:5173"),
        ("YAMABIKO__SERVER__TRUSTED_PROXIES", "10.0.0.0/8"),
        ("YAMABIKO__AUTH__CLOSE_ON_EXPIRY", "off"),
        ("YAMABIKO__LIMITS__HANDSHAKE_TIMEOUT", "1m 30s"),
        ("YAMABIKO__SENDER__ID", "-1"),
        ("YAMABIKO__SENDER__NAME", "山彦"),
        ("YAMABIKO__LOG__FORMAT", "json"),
        ("YAMABIKO__AUTH__KEYS", "[{ algorithm = \"HS512\", kid = \"k\", secret = \"s\" }]"),
    ]);
    let server = &config.settings.server;
    assert_eq!(server.auth.secret.expose_secret(), "0123");
    assert_eq!(server.redis.prefix, "true");
    assert_eq!(server.server.origins, ["https://a.example", "http://localhost:5173"]);
    assert_eq!(server.server.trusted_proxies[0].to_string(), "10.0.0.0/8");
    assert!(!server.auth.close_on_expiry);
    assert_eq!(server.limits.handshake_timeout, Duration::from_secs(90));
    assert_eq!((server.sender.id, server.sender.name.as_str()), (-1, "山彦"));
    assert_eq!(config.settings.log.format, Format::Json);
    assert_eq!(server.auth.keys[0].kid.as_deref(), Some("k"));
}

#[test]
fn kinds_of_channels_are_made_and_changed() {
    let text = "[channels.My-Kind]\nfields = [\"a\"]\n\n[channels.tweet]\nclient_send = false\n";
    let config = with(
        text,
        &[
            ("YAMABIKO__CHANNELS__NEWS__FIELDS", "title, body"),
            ("YAMABIKO__CHANNELS__NEWS__CLIENT_SEND", "no"),
            ("YAMABIKO__CHANNELS__MY_KIND__TARGETING", "yes"),
            ("YAMABIKO__CHANNELS__CHAT__FIELDS", "message"),
        ],
    )
    .unwrap();
    let channels = &config.settings.server.channels;
    assert_eq!(channels["news"].fields.as_deref().unwrap(), ["title", "body"]);
    assert!(!channels["news"].client_send && !channels["news"].targeting);
    assert!(channels["My-Kind"].targeting);
    assert_eq!(channels["My-Kind"].fields.as_deref().unwrap(), ["a"]);
    assert!(!channels["tweet"].client_send);
    assert_eq!(channels["tweet"].fields.as_deref().unwrap(), ["tweet"], "the default stays");
    assert_eq!(channels["chat"].fields.as_deref().unwrap(), ["message"]);
    assert!(channels["chat"].targeting);
    assert_eq!(channels.len(), 5);
}

#[test]
fn existing_env_files_work_unchanged() {
    let config = env(&[
        ("APP_WS_HOST", "127.0.0.1"),
        ("APP_WS_PORT", "6001"),
        ("APP_WS_JWT_SECRET", "17 bytes of text!"),
        ("APP_REDIS_URL", "redis://app:6379"),
        ("APP_REDIS_PREFIX", "laravel_database_"),
    ]);
    let server = &config.settings.server;
    assert_eq!((server.server.host.as_str(), server.server.port), ("127.0.0.1", 6001));
    assert_eq!(server.auth.secret.expose_secret(), "17 bytes of text!");
    assert_eq!(server.redis.url.expose_secret(), "redis://app:6379");
    assert_eq!(server.redis.prefix, "laravel_database_");
    assert_eq!(origin(&config, "auth", "secret"), Some("APP_WS_JWT_SECRET"));
    assert_eq!(config.warnings.len(), 1, "the secret is short");
    assert!(config.warnings[0].to_string().ends_with("(from APP_WS_JWT_SECRET)"));
}

#[test]
fn names_have_their_precedence() {
    let all = [
        ("YAMABIKO__REDIS__URL", "redis://yamabiko"),
        ("APP_REDIS_URL", "redis://app"),
        ("REDIS_URL", "redis://laravel"),
        ("REDIS_HOST", "composed"),
    ];
    for (index, expected) in ["redis://yamabiko", "redis://app", "redis://laravel", "redis://composed:6379"]
        .into_iter()
        .enumerate()
    {
        let config = with("[redis]\nurl = \"redis://file\"\n", &all[index..]).unwrap();
        assert_eq!(config.settings.server.redis.url.expose_secret(), expected);
        assert_eq!(origin(&config, "redis", "url"), Some(all[index].0));
    }
    let config = env(&[("REDIS_PREFIX", "l_"), ("APP_REDIS_PREFIX", "a_")]);
    assert_eq!(config.settings.server.redis.prefix, "a_");
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let config = env(&[
        ("YAMABIKO__SERVER__PORT", ""),
        ("APP_WS_PORT", "6001"),
        ("YAMABIKO__NO__SUCH", ""),
        ("REDIS_URL", ""),
        ("REDIS_HOST", "r"),
        ("REDIS_PASSWORD", ""),
        ("PUSHER_APP_KEY", ""),
    ]);
    assert_eq!(config.settings.server.server.port, 6001);
    assert_eq!(config.settings.server.redis.url.expose_secret(), "redis://r:6379");
    assert!(config.warnings.is_empty());
}

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
        "server.prot: there is no such setting; did you mean port? (from /",
        "server.port: must be a whole number, not \"8080\" (from /",
        "heartbeat.interval: must be a duration such as \"10s\" or \"1m 30s\", not \"soon\" (from /",
        "heartbeat.timeout: must be a string such as \"10s\", not 10 (from /",
        "admin.listen: \"everywhere\" will not do: invalid socket address syntax (from /",
        "channels.chat.feilds: there is no such setting; did you mean fields? (from /",
        "auth.keys[0].pubic_key_file: there is no such setting; did you mean public_key_file? (from /",
        "sevrer: there is no such section; did you mean [server]? (from /",
        "colour: there is no such section (from /",
        "YAMABIKO__SERVER__HSOT: there is no such setting; did you mean YAMABIKO__SERVER__HOST?",
        "limits.burst: must be a whole number, not \"many\" (from YAMABIKO__LIMITS__BURST)",
        "log.format: \"xml\" will not do: unknown variant `xml`, expected `text` or `json` (from YAMABIKO__LOG__FORMAT)",
        "server.port: must be a whole number from 0 to 65535, not 70000 (from APP_WS_PORT)",
    ];
    for wanted in expected {
        assert!(found.iter().any(|problem| problem.starts_with(wanted)), "{wanted}\nin {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for (setting, key) in [
        ("[server]\nhost = \"\"", "server.host"),
        ("[server]\norigins = [\"https://a.example/\"]", "server.origins"),
        ("[server]\norigins = [\"a.example\"]", "server.origins"),
        ("[server]\norigins = [\"*\"]", "server.origins"),
        ("[server]\nport = 8081", "admin.listen"),
        ("[server]\nport = 8081\nhost = \"localhost\"", "admin.listen"),
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
        ("[channels.\"chat:a\"]\ntargeting = true", "channels.\"chat:a\".targeting"),
        ("[auth]\nalgorithms = [\"none\"]", "auth.algorithms"),
        ("[[auth.keys]]\nalgorithm = \"RS256\"", "auth.keys[0].public_key_file"),
        ("[[auth.keys]]\nkid = \"a\"", "auth.keys[0].algorithm"),
    ] {
        let found = problem(setting, &[]);
        assert!(found.starts_with(&format!("{key}: ")), "{setting}\n{found}");
    }
    for good in [
        "[server]\norigins = [\"https://a.example:8443\", \"null\", \"capacitor://localhost\", \"http://[::1]:3000\"]",
        "[server]\nport = 8081\nhost = \"192.0.2.1\"",
        "[server]\nport = 0\nshutdown_grace = \"0s\"\n[admin]\nlisten = \"127.0.0.1:0\"",
        "[log]\nlevel = \"info,yamabiko::broker=debug\"",
        "[redis]\nurl = \"rediss://:p%40ss@redis.example:6380/1\"",
    ] {
        assert!(with(good, &[]).is_ok(), "{good}\n{:?}", with(good, &[]).err());
    }
}

#[test]
fn without_a_key_the_server_says_what_to_set() {
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
fn a_file_that_is_not_there_is_a_problem() {
    let found =
        load(Some("/nowhere/y.toml".as_ref()), &Environment::default(), AuthKeys::Optional).unwrap_err();
    assert_eq!(found.0.len(), 1);
    assert!(found.to_string().starts_with("/nowhere/y.toml: cannot be read"), "{found}");
}

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
    let rules = one.over(&server.pusher);
    assert_eq!((rules.client_events, rules.event_bytes, rules.webhooks.len()), (false, 100, 1));
    assert_eq!((rules.activity_timeout.as_secs(), rules.pong_timeout.as_secs()), (9, 7));
    assert_eq!(one.previous_secrets[0].expose_secret(), "s0");
    assert!(one.enabled && !two.enabled);
    assert_eq!(two.over(&server.pusher).webhooks[0].events.len(), 2);
    assert!(origin(&config, "", "apps").unwrap().ends_with("yamabiko.toml"));
    assert_eq!(origin(&config, "pusher", "pong_timeout"), Some("YAMABIKO__PUSHER__PONG_TIMEOUT"));
    assert!(config.warnings.is_empty());
}

#[test]
fn an_app_is_made_of_laravels_variables() {
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
    assert_eq!(key(&[pusher, reverb].concat()).0, "pk rk", "pages of both kinds are about");
    let same_id = [("REVERB_APP_ID", "1"), reverb[1], reverb[2]];
    let same_key = [reverb[0], ("REVERB_APP_KEY", "pk"), reverb[2]];
    assert_eq!(
        key(&[pusher, same_id].concat()),
        of("pk", "PUSHER_APP_ID, PUSHER_APP_KEY, PUSHER_APP_SECRET")
    );
    assert_eq!(key(&[pusher, same_key].concat()).0, "pk");
    assert_eq!(key(&[&pusher[..], &[whole]].concat()), of("yk", "YAMABIKO__APPS"));
    // What Laravel takes for nothing, as `.env` files have it for the driver that is not used.
    let nothing = [("PUSHER_APP_ID", ""), ("PUSHER_APP_KEY", "null")];
    assert_eq!(key(&[&nothing[..], &reverb].concat()).0, "rk");

    let found = problems("", &pusher[1..]);
    let expected = "PUSHER_APP_ID: is missing beside PUSHER_APP_KEY and PUSHER_APP_SECRET: an app has an id, a key and a secret";
    assert_eq!(found, [expected]);
    // Also if Reverb's are whole: which are meant?
    let found = problems("", &[&pusher[..1], &reverb].concat());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("PUSHER_APP_KEY and PUSHER_APP_SECRET: are missing beside PUSHER_APP_ID"));
    let found = problems("", &[&pusher[..], &reverb[..1]].concat());
    assert!(
        found[0].starts_with("REVERB_APP_KEY and REVERB_APP_SECRET: are missing beside REVERB_APP_ID"),
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
    assert!(
        warning.contains("yamabiko.toml are not served") && warning.contains("REVERB_APP_ID"),
        "{warning}"
    );
    assert!(with("apps = []", &variables).unwrap().warnings.is_empty());
}

#[test]
fn what_is_wrong_with_an_app_is_told_with_its_place() {
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
    "#;
    let expected = [
        "pusher.presence_member: there is no such setting; did you mean presence_members? (from /",
        "pusher.cache_ttl: must be a duration such as \"10s\" or \"1m 30s\", not \"soon\" (from /",
        "apps[0].id: must be a string (from /",
        "apps[0].secret: is missing; it is Laravel's PUSHER_APP_SECRET",
        "apps[0].scret: there is no such setting; did you mean secret? (from /",
        "apps[0].pong_timeout: must be a duration such as \"10s\"",
        "apps[0].conections: there is no such setting; did you mean connections? (from /",
        "apps[0].previous_secrets: must be a list of strings (from /",
        "apps[1].enabled: must be true or false (from /",
        "apps[1].connections: must be a whole number from 0 upwards, not -1 (from /",
        "apps[1].webhooks[0].url: is missing, as \"https://app.example.com/webhook\" (from /",
        "apps[1].webhooks[1].events: unknown variant `channel_vacate`",
        "pusher.event_bytes: must be at least 1 (from /",
        "pusher.webhooks: the url of number 0 is not one of http or https",
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
        (&good.replace("\"k\"", "\"k:k\""), "apps[0].key: an app's key has letters"),
        (&format!("{good}event_bytes = 0"), "apps[0].event_bytes: must be at least 1"),
        (&format!("{good}origins = [\"*\"]"), "apps[0].origins: \"*\" is not an origin"),
        (
            &format!("[pusher]\nactivity_timeout = \"0s\"\n{good}"),
            "pusher.activity_timeout: must be whole seconds",
        ),
        ("[pusher]\norigins = [\"a\"]", "pusher.origins: \"a\" is not an origin"),
    ] {
        let found = problem(setting, &[]);
        assert!(found.starts_with(start), "{setting}\n{found}");
    }
    assert!(problem("", &[("YAMABIKO____APPS", "[]")]).contains("no such setting"));
    let found = problem("", &[("YAMABIKO__APPS", "[{ secret = \"hunter2 }]")]);
    assert!(found.starts_with("apps: must be a TOML list such as [{ id = "), "{found}");
    assert!(!found.contains("hunter2"));
}

#[test]
fn what_is_shown_is_toml_with_origins_and_without_secrets() {
    let text = r#"
        [[auth.keys]]
        algorithm = "HS256"
        kid = "old"
        secret = "hunter2-in-a-key"
        [[pusher.webhooks]]
        url = "https://hook:hunter2@a.example/hook?token=hunter2"
        [[apps]]
        id = "1"
        key = "my-key"
        secret = "hunter2-in-an-app"
        previous_secrets = ["hunter2-before", "hunter2-long-ago"]
        webhooks = [{ url = "https://b.example/hook?token=hunter2" }]
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
    assert!(shown.contains("\"https://hook:********@a.example/hook?********\""), "{shown}");
    // It is a settings file itself.
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
