//! Settings: `config check`, `config show`, files of variables, and what `serve` reports.

use super::{Ran, identity, run};
use crate::support::SECRET;

#[test]
fn serve_without_a_key_names_the_settings() {
    for arguments in [&[][..], &["serve"], &["config", "check"]] {
        let Ran { code, err, .. } = run(arguments, &[]);
        assert_eq!(code, Some(2));
        assert!(err.contains("YAMABIKO__AUTH__SECRET") && err.contains("APP_WS_JWT_SECRET"), "{err}");
    }
}

#[test]
fn all_settings_problems_are_reported_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("y.toml");
    std::fs::write(&path, "[server]\nprot = 1\n[heartbeat]\ninterval = \"1500ms\"\n").unwrap();
    let variables = [("YAMABIKO_CONFIG", path.to_str().unwrap()), ("YAMABIKO__LIMITS__BURST", "0")];
    let Ran { code, err, .. } = run(&["serve"], &variables);
    assert_eq!(code, Some(2));
    let from_file = format!("(from {})", path.display());
    for wanted in [
        "4 problems in the settings:",
        &format!("  - server.prot: unknown setting; did you mean port? {from_file}\n"),
        &format!("  - heartbeat.interval: must be whole seconds, such as \"30s\" {from_file}\n"),
        "  - limits.burst: must be at least 1, or no client could send a message (from YAMABIKO__LIMITS__BURST)\n",
        "  - auth.secret: is not set and there is no Pusher app",
    ] {
        assert!(err.contains(wanted), "{wanted}\nin {err}");
    }
}

#[test]
fn config_check_validates_the_settings_of_serve() {
    let Ran { code, out, err } = run(&["config", "check"], &[("APP_WS_JWT_SECRET", SECRET)]);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "The settings are valid.\n", ""));

    let short = [("APP_WS_JWT_SECRET", "17 bytes of text!")];
    let Ran { code, err, .. } = run(&["config", "check"], &short);
    assert_eq!(code, Some(0));
    assert!(err.contains("warning: auth.secret: has 17 bytes"), "{err}");
    assert!(!err.contains("17 bytes of text"), "{err}");

    let app = [("REVERB_APP_ID", "1"), ("REVERB_APP_KEY", "k"), ("REVERB_APP_SECRET", "hunter2")];
    let Ran { code, out, err } = run(&["config", "check"], &app);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "The settings are valid.\n", ""));
    let Ran { code, err, .. } = run(&["config", "check"], &app[..2]);
    assert_eq!(code, Some(2));
    assert!(
        err.contains("REVERB_APP_SECRET: must be set together with REVERB_APP_ID and REVERB_APP_KEY"),
        "{err}"
    );
    let Ran { out, .. } = run(&["config", "show"], &app);
    let shown = "apps = [{ id = \"1\", key = \"k\", secret = \"********\" }]  # REVERB_APP_ID, REVERB_APP_KEY, REVERB_APP_SECRET\n";
    assert!(out.starts_with(shown), "{out}");
}

#[test]
fn a_duration_that_no_clock_can_count_is_a_problem() {
    let variables = [("APP_WS_JWT_SECRET", SECRET), ("YAMABIKO__REDIS__PUBLISH_TIMEOUT", "300000000000y")];
    for arguments in [&["config", "check"][..], &["serve"]] {
        let Ran { code, err, .. } = run(arguments, &variables);
        assert_eq!(code, Some(2));
        let problem =
            "redis.publish_timeout: must be at most 10years (from YAMABIKO__REDIS__PUBLISH_TIMEOUT)";
        assert!(err.contains(problem), "{err}");
    }
}

#[test]
fn config_show_hides_secrets_and_names_sources() {
    let variables = [
        ("APP_WS_JWT_SECRET", "hunter2"),
        ("REDIS_URL", "redis://user:hunter2@redis.example:6380/1"),
        ("YAMABIKO__AUTH__KEYS", "[{ algorithm = \"HS256\", kid = \"k\", secret = \"hunter2\" }]"),
    ];
    for arguments in [&["config"][..], &["config", "show"]] {
        let Ran { code, out, .. } = run(arguments, &variables);
        assert_eq!(code, Some(0));
        assert!(!out.contains("hunter2"), "{out}");
        assert!(out.contains("\nsecret = \"********\"  # APP_WS_JWT_SECRET\n"), "{out}");
        assert!(
            out.contains("\nurl = \"redis://user:********@redis.example:6380/1\"  # REDIS_URL\n"),
            "{out}"
        );
        assert!(out.contains("\nport = 8080  # default\n"), "{out}");
    }
}

#[test]
fn env_file_applies_to_every_command_with_settings() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".env");
    let secret = "Kp$9xRt7&;(#'`\\ and more, thirty-two bytes in all";
    std::fs::write(
        &path,
        format!("APP_WS_JWT_SECRET=\"{}\"\nREDIS_PREFIX=null\n", secret.replace('\\', r"\\")),
    )
    .unwrap();
    let file = path.to_str().unwrap();
    let Ran { code, out, err } = run(&["--env-file", file, "config", "check"], &[]);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "The settings are valid.\n", ""));
    let Ran { out, .. } = run(&["config", "show", "--env-file", file], &[]);
    assert!(out.contains(&format!("secret = \"********\"  # APP_WS_JWT_SECRET in {file}\n")), "{out}");
    assert!(out.contains("prefix = \"\"  # default\n"), "{out}");
    let arguments = ["token", "--env-file", file, "--id", "7", "--name", "A", "--channel", "chat:"];
    let Ran { out, .. } = run(&arguments, &[]);
    assert_eq!(identity(out.trim(), &[("APP_WS_JWT_SECRET", secret)]).id.form(), Ok(7));
    let Ran { code, err, .. } = run(&["--env-file", "/nowhere/.env", "config", "check"], &[]);
    assert_eq!(code, Some(2));
    assert!(err.starts_with("error: /nowhere/.env: cannot be read"), "{err}");
}
