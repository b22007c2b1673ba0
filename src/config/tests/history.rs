//! `history` of kinds and apps, and `[recovery]`.

use std::time::Duration;

use super::*;
use crate::message::Retention;

const APP: &str = "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s\"\n";

fn keep(messages: u32, seconds: u64) -> Retention {
    Retention { messages, age: Duration::from_secs(seconds) }
}

#[test]
fn no_channel_has_a_history_by_default() {
    let config = env(&[]);
    let server = &config.settings.server;
    assert!(server.channels.values().all(|rules| rules.history.is_none()));
    assert!(server.pusher.history.is_empty());
    assert_eq!(server.recovery.window, Duration::from_secs(120));
    assert_eq!((server.recovery.channel_bytes, server.recovery.total_bytes), (8 << 20, 256 << 20));
}

#[test]
fn histories_are_read_from_a_file_and_from_the_environment() {
    let text = r#"
        [channels.chat]
        history = { messages = 1000, age = "2m" }
        [channels.progress.history]
        messages = 1
        age = "1h"
        [channels."*"]
        history = { messages = 7, age = "3m" }
        [[pusher.history]]
        channels = ["*"]
        messages = 10
        age = "5m"
        [[apps]]
        id = "1"
        key = "k1"
        secret = "s1"
        [[apps.history]]
        channels = ["private-orders.*", "news"]
        messages = 2
        age = "2m"
        [[apps]]
        id = "2"
        key = "k2"
        secret = "s2"
    "#;
    let config = with(text, &[]).unwrap();
    let server = &config.settings.server;
    let of = |kind: &str| server.channels[kind].history;
    assert_eq!([of("chat"), of("progress")], [Some(keep(1000, 120)), Some(keep(1, 3600))]);
    assert_eq!([of("*"), of("tweet")], [Some(keep(7, 180)), None]);
    assert_eq!(server.channels["chat"].fields.as_deref().unwrap(), ["message", "name"], "the default stays");
    let rules = |app: usize| {
        let rules = server.apps[app].with_defaults(&server.pusher).history;
        rules.iter().map(|rule| (rule.channels.len(), rule.retention)).collect::<Vec<_>>()
    };
    // The rules of all apps come after the app's own.
    assert_eq!(rules(0), [(2, keep(2, 120)), (1, keep(10, 300))]);
    assert_eq!(rules(1), [(1, keep(10, 300))]);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);

    let variables = [
        ("YAMABIKO__CHANNELS__CHAT__HISTORY", r#"{ messages = 5, age = "4m" }"#),
        ("YAMABIKO__CHANNELS__*__HISTORY", r#"{ messages = 6, age = "4m" }"#),
        ("YAMABIKO__PUSHER__HISTORY", r#"[{ channels = ["news"], messages = 3, age = "2m" }]"#),
        (
            "YAMABIKO__APPS",
            r#"[{ id = "1", key = "k", secret = "s", history = [{ channels = ["a"], messages = 4, age = "2m" }] }]"#,
        ),
        ("YAMABIKO__RECOVERY__WINDOW", "90s"),
        ("YAMABIKO__RECOVERY__CHANNEL_BYTES", "1000000"),
        ("YAMABIKO__RECOVERY__TOTAL_BYTES", "2000000"),
    ];
    let config = with("[channels.chat]\nhistory = { messages = 1000, age = \"2m\" }", &variables).unwrap();
    let server = &config.settings.server;
    assert_eq!(server.channels["chat"].history, Some(keep(5, 240)));
    assert_eq!(server.channels["*"].history, Some(keep(6, 240)));
    assert_eq!(server.pusher.history[0].retention, keep(3, 120));
    assert_eq!(server.apps[0].history.as_ref().unwrap()[0].retention, keep(4, 120));
    assert_eq!(server.recovery.window, Duration::from_secs(90));
    assert_eq!((server.recovery.channel_bytes, server.recovery.total_bytes), (1_000_000, 2_000_000));
}

#[test]
fn shown_histories_have_their_origin_and_are_valid_settings() {
    let text = format!(
        "[channels.tweet]\nhistory = {{ messages = 9, age = \"2m\" }}\n[[pusher.history]]\nchannels = [\"news\"]\n\
         messages = 3\nage = \"2m\"\n{APP}history = [{{ channels = [\"a\"], messages = 4, age = \"2m\" }}]\n"
    );
    let variables = [("YAMABIKO__CHANNELS__CHAT__HISTORY", r#"{ messages = 5, age = "4m" }"#)];
    let config = with(&text, &variables).unwrap();
    let shown = show(&config);
    let chat = "history = { age = \"4m\", messages = 5 }  # YAMABIKO__CHANNELS__CHAT__HISTORY\n";
    assert!(shown.contains(chat), "{shown}");
    let tweet =
        shown.lines().find(|line| line.starts_with("history = { age = \"2m\", messages = 9 }")).unwrap();
    assert!(tweet.ends_with("yamabiko.toml"), "{tweet}");
    assert!(
        shown.contains("history = [{ age = \"2m\", channels = [\"news\"], messages = 3 }]  # /"),
        "{shown}"
    );
    let again = with(&shown, &[]).unwrap();
    assert_eq!(again.settings.server.channels["chat"].history, Some(keep(5, 240)));
    assert_eq!(again.settings.server.pusher.history, config.settings.server.pusher.history);
}

#[test]
fn every_problem_of_histories_is_reported_in_one_go() {
    let text = r#"
        [channels.chat]
        history = { messages = 0, age = "0s" }
        [channels.tweet]
        history = 1000
        [channels.progress]
        histroy = { messages = 1, age = "2m" }
        [channels.news]
        history = { mesages = 1, age = 120 }
        [channels.feed]
        history = { messages = 1, age = "31days" }
        [recovery]
        window = "0s"
        windw = "2m"
        channel_bytes = 131071
        total_bytes = 131070
        [[pusher.history]]
        channels = ["private-*.orders"]
        messages = -1
        age = "soon"
        [[pusher.history]]
        channels = "news"
        [[apps]]
        id = "1"
        key = "k"
        secret = "s"
        [[apps.history]]
        channel = ["news"]
        messages = "1000"
        age = "2m"
        [[apps.history]]
        channels = ["news", "chat:*"]
        messages = 1
        age = "2m"
        [[apps.history]]
        channels = []
        messages = 1
        age = "2m"
    "#;
    let expected = [
        "channels.chat.history.messages: must be at least 1, not 0 (from /",
        "channels.chat.history.age: must be longer than 0s, not \"0s\" (from /",
        "channels.tweet.history: must be a table such as { messages = 1000, age = \"2m\" } (from /",
        "channels.progress.histroy: unknown setting; did you mean history? (from /",
        "channels.news.history.mesages: unknown setting; did you mean messages? (from /",
        "channels.news.history.messages: is required, such as 1000 (from /",
        "channels.news.history.age: must be a duration such as \"2m\" (from /",
        "channels.feed.history.age: must be at most 30days, not \"31days\" (from /",
        "recovery.window: must be longer than 0s (from /",
        "recovery.windw: unknown setting; did you mean window? (from /",
        "recovery.channel_bytes: 131071 is less than twice limits.message_bytes (65536), so the largest message would not fit",
        "recovery.total_bytes: 131070 is less than recovery.channel_bytes (131071) (from /",
        "pusher.history[0].channels: \"private-*.orders\": a * may only stand at the end, for any text (from /",
        "pusher.history[0].messages: must be a whole number from 0 to 4294967295, not -1 (from /",
        "pusher.history[0].age: must be a duration such as \"10s\" or \"1m 30s\", not \"soon\" (from /",
        "pusher.history[1].channels: must be a list of strings (from /",
        "pusher.history[1].messages: is required, such as 1000 (from /",
        "pusher.history[1].age: is required, such as \"2m\" (from /",
        "apps[0].history[0].channel: unknown setting; did you mean channels? (from /",
        "apps[0].history[0].channels: is required, such as [\"private-orders.*\", \"news\"] (from /",
        "apps[0].history[0].messages: must be a whole number (from /",
        "apps[0].history[1].channels: \"chat:*\" is not a channel: a channel name has letters, digits",
        "apps[0].history[2].channels: must name at least one channel, such as \"news\" or \"private-orders.*\" (from /",
    ];
    let found = problems(text, &[]);
    for wanted in expected {
        assert!(found.iter().any(|problem| problem.starts_with(wanted)), "{wanted}\nin {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");

    let wrong = [
        ("YAMABIKO__CHANNELS__CHAT__HISTORY", "1000"),
        ("YAMABIKO__CHANNELS__TWEET__HISTORY", "2m"),
        ("YAMABIKO__PUSHER__HISTORY", "news"),
        ("YAMABIKO__RECOVRY__WINDOW", "2m"),
    ];
    let found = problems("", &wrong);
    for wanted in [
        "channels.chat.history: must be a table such as { messages = 1000, age = \"2m\" } (from YAMABIKO__CHANNELS__CHAT__HISTORY)",
        "channels.tweet.history: must be a TOML table such as { messages = 1000, age = \"2m\" }, not \"2m\" (from ",
        "pusher.history: must be a TOML array such as [{ channels = [\"news\"], messages = 1000, age = \"2m\" }], not \"news\"",
        "YAMABIKO__RECOVRY__WINDOW: unknown setting; did you mean YAMABIKO__RECOVERY__WINDOW?",
    ] {
        assert!(found.iter().any(|problem| problem.starts_with(wanted)), "{wanted}\nin {found:#?}");
    }
    assert_eq!(found.len(), wrong.len(), "{found:#?}");
}

#[test]
fn an_age_below_the_recovery_window_is_a_warning() {
    let text = format!(
        "[channels.chat]\nhistory = {{ messages = 9, age = \"119s\" }}\n[channels.tweet]\nhistory = {{ messages = 9, age = \
         \"2m\" }}\n[[pusher.history]]\nchannels = [\"news\"]\nmessages = 3\nage = \"30s\"\n{APP}history = [{{ channels = \
         [\"a\"], messages = 4, age = \"2m\" }}, {{ channels = [\"b\"], messages = 4, age = \"1m\" }}]\n"
    );
    let warnings: Vec<_> = with(&text, &[]).unwrap().warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
    let first = "channels.chat.history.age: 1m 59s is shorter than recovery.window (2m): clients that are away for longer \
                 than 1m 59s are told that messages may be missing (from /";
    assert!(warnings[0].starts_with(first), "{warnings:#?}");
    assert!(warnings[1].starts_with("pusher.history[0].age: 30s is shorter"), "{warnings:#?}");
    assert!(warnings[2].starts_with("apps[0].history[1].age: 1m is shorter"), "{warnings:#?}");
    let shorter = [("YAMABIKO__RECOVERY__WINDOW", "30s")];
    assert!(with(&text, &shorter).unwrap().warnings.is_empty());
}
