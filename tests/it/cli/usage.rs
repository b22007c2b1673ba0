//! Help, wrong usage, and a closed standard output.

use std::process::Stdio;

use super::{Ran, ran, run, yamabiko};
use crate::support::SECRET;

#[test]
fn help_exits_0_and_wrong_usage_exits_2() {
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["dev", "--help"],
        &["token", "--help"],
        &["publish", "--help"],
        &["listen", "--help"],
        &["bench", "--help"],
        &["config", "--help"],
        &["check", "--help"],
        &["top", "--help"],
        &["completions", "--help"],
        &["--version"],
    ] {
        let Ran { code, out, err } = run(arguments, &[]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(out.contains("amabiko"), "{out}");
    }
    for arguments in [
        &["nonsense"][..],
        &["--nonsense"],
        &["token"],
        &["token", "--id", "", "--name", "A", "--channel", "chat:"],
        &["token", "--id", "7", "--name", "A", "--channel", ""],
        &["token", "--id", "7", "--name", "A", "--channel", "chat:", "--ttl", "0s"],
        &["top", "--interval", "300000000000y"],
        &["publish", "chat:"],
        &["publish", "chat:", "nonsense"],
        &["publish", "chat:", "[]"],
        &["listen"],
        &["listen", "chat:", "--url", "chat.example"],
        &["config", "nonsense"],
    ] {
        let Ran { code, out, err } = run(arguments, &[("APP_WS_JWT_SECRET", SECRET)]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(err.starts_with("error: "), "{err}");
    }
}

#[test]
fn a_closed_standard_output_does_not_panic() {
    for arguments in [&["config", "show"][..], &["--help"]] {
        let mut child =
            yamabiko(arguments, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let Ran { code, err, .. } = ran(child.wait_with_output().unwrap());
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}");
    }
}
