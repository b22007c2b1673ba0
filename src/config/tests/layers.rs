//! Precedence of sources and names.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::*;
use crate::telemetry::LogFormat;

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
    assert_eq!(config.settings.log.format, LogFormat::Json);
    assert_eq!(server.auth.keys[0].kid.as_deref(), Some("k"));
}

#[test]
fn kinds_of_channels_are_added_and_changed() {
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
fn values_are_read_as_laravel_reads_them() {
    for nothing in ["null", "NULL", "(null)", "empty", "(empty)", "false", "(False)", "\"\"", "''"] {
        let config =
            env(&[("REDIS_PREFIX", nothing), ("APP_WS_JWT_SECRET", nothing), ("APP_WS_PORT", nothing)]);
        assert_eq!(config.settings.server.redis.prefix, "", "{nothing}");
        assert_eq!(config.settings.server.auth.secret.expose_secret(), "", "{nothing}");
        assert_eq!(config.settings.server.server.port, 8080, "{nothing}");
        assert_eq!(origin(&config, "redis", "prefix"), None, "{nothing}");
    }
    for nothing in ["null", "(empty)"] {
        let config = env(&[("YAMABIKO__REDIS__PREFIX", nothing), ("REDIS_PREFIX", "l_")]);
        assert_eq!(config.settings.server.redis.prefix, "l_", "{nothing}");
    }
    for (text, value) in [
        ("true", "1"),
        ("(true)", "1"),
        ("\"a b\"", "a b"),
        ("'a\"b'", "a\"b"),
        ("nullable", "nullable"),
        ("'", "'"),
    ] {
        assert_eq!(env(&[("REDIS_PREFIX", text)]).settings.server.redis.prefix, value, "{text}");
    }
    // YAMABIKO__ variables are read literally.
    assert_eq!(env(&[("YAMABIKO__REDIS__PREFIX", "\"true\"")]).settings.server.redis.prefix, "\"true\"");
}

#[test]
fn laravels_redis_url_schemes_are_translated() {
    for (url, expected) in [
        ("tls://:p@r.example:6380/1", "rediss://:p@r.example:6380/1"),
        ("ssl://r.example", "rediss://r.example"),
        ("tcp://r.example", "redis://r.example"),
        ("rediss://r.example", "rediss://r.example"),
    ] {
        for variable in ["REDIS_URL", "APP_REDIS_URL"] {
            assert_eq!(env(&[(variable, url)]).settings.server.redis.url.expose_secret(), expected);
        }
    }
}

#[test]
fn variables_of_the_process_override_the_env_file() {
    let text = "APP_WS_JWT_SECRET='Kp$9xRt7&(;#\"\\ of mine'\nAPP_WS_PORT=6001\nREDIS_HOST=r\nREDIS_PREFIX=file_\n\
                REDIS_PASSWORD=\"p${APP_WS_PORT}\"\nAPP_WS_HOST=\"127.0.0.1\"\n";
    let variables = Environment::from_iter([("REDIS_PREFIX", "process_"), ("APP_WS_HOST", "")]);
    let environment = variables.with_file(&file(text).path).unwrap();
    let config = load(None, &environment, AuthKeys::Required).unwrap();
    let server = &config.settings.server;
    assert_eq!(server.auth.secret.expose_secret(), "Kp$9xRt7&(;#\"\\ of mine");
    assert_eq!(server.redis.url.expose_secret(), "redis://:p6001@r:6379");
    assert_eq!(
        (server.server.port, &*server.redis.prefix, &*server.server.host),
        (6001, "process_", "0.0.0.0")
    );
    let named = |section, name| origin(&config, section, name).unwrap().replace('/', "|");
    assert!(
        named("redis", "url").starts_with("REDIS_HOST, REDIS_PASSWORD in |"),
        "{}",
        named("redis", "url")
    );
    assert!(named("server", "port").starts_with("APP_WS_PORT in |"));
    assert_eq!(named("redis", "prefix"), "REDIS_PREFIX");
    assert!(!format!("{environment:?}").contains("mine"));
}

#[test]
fn an_invalid_env_file_is_a_problem_that_shows_no_value() {
    let error_of = |text: &str| Environment::default().with_file(&file(text).path).unwrap_err().to_string();
    let found = error_of("A=1\nAPP_WS_JWT_SECRET=hunter2 hunter3\n");
    assert!(found.ends_with("line 2: a value with white space must be in quotes"), "{found}");
    assert!(error_of("APP_WS_JWT_SECRET='hunter2\n").ends_with("line 1: a quote is not closed"));
    let missing = Environment::default().with_file("/nowhere/.env".as_ref()).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/.env: cannot be read"), "{missing}");
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
