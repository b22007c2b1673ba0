//! What the types of the settings cannot say.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use redis::IntoConnectionInfo;
use secrecy::ExposeSecret;

use super::{AuthKeys, Config, Key, Problem};
use crate::auth::Authenticator;
use crate::message::ChannelName;
use crate::protocol::pusher::{AppSettings, Apps, PusherSettings};
use crate::telemetry;
use crate::transport::{Limits, OriginPattern};

const NOBODY: &str = "no key to check tokens with, and no app of the Pusher protocol: nobody could connect; set \
                      YAMABIKO__AUTH__SECRET or APP_WS_JWT_SECRET to the secret that Laravel signs with, or for \
                      Laravel Echo PUSHER_APP_ID, PUSHER_APP_KEY and PUSHER_APP_SECRET (`yamabiko dev` needs nothing)";

/// What is wrong with the settings. What is merely worth knowing is added to `config.warnings`.
pub(super) fn run(config: &mut Config, keys: AuthKeys) -> Vec<Problem> {
    let mut found = Found { config, problems: Vec::new() };
    found.ports();
    found.origins();
    found.durations();
    found.limits();
    found.redis();
    found.channels();
    found.pusher();
    found.log();
    let problems = found.problems;
    let mut odd = odd_secrets(config);
    odd.extend(outgrown_limits(config));
    config.warnings.extend(odd);
    let auth = auth(config, keys);
    problems.into_iter().chain(auth).collect()
}

struct Found<'a> {
    config: &'a Config,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn problem(&mut self, section: &str, name: &str, message: impl Into<String>) {
        let key = Key::new(section, name);
        let origin = self.config.origin(&key).map(str::to_owned);
        self.problems.push(Problem::new(key, origin.as_deref(), message));
    }

    fn app_problem(&mut self, index: usize, name: &str, message: impl Into<String>) {
        let origin = self.config.origin(&Key::top("apps")).map(str::to_owned);
        self.problems.push(Problem::new(format!("apps[{index}].{name}"), origin.as_deref(), message));
    }

    fn ports(&mut self) {
        let server = &self.config.settings.server;
        let (public, admin) = (&server.server, server.admin.listen);
        if public.host.trim().is_empty() {
            self.problem("server", "host", "is empty; 0.0.0.0 listens on all addresses");
        }
        if public.port != 0 && public.port == admin.port() && overlap(&public.host, admin) {
            let message =
                format!("{admin} is also where server.host and server.port listen; take another port");
            self.problem("admin", "listen", message);
        }
        for host in server.admin.hosts.iter().filter(|host| !is_host_name(host)) {
            let message =
                format!("{host:?} is not a host name; write it without scheme and port, as \"yamabiko\"");
            self.problem("admin", "hosts", message);
        }
    }

    fn origins(&mut self) {
        let server = &self.config.settings.server;
        for (section, origins) in [("server", &server.server.origins), ("pusher", &server.pusher.origins)] {
            for message in wrong_origins(origins) {
                self.problem(section, "origins", message);
            }
        }
        let of_apps = server.apps.iter().enumerate();
        for (index, origins) in of_apps.filter_map(|(index, app)| Some((index, app.origins.as_ref()?))) {
            for message in wrong_origins(origins) {
                self.app_problem(index, "origins", message);
            }
        }
    }

    fn durations(&mut self) {
        let server = &self.config.settings.server;
        for (section, name, duration) in [
            ("redis", "publish_timeout", server.redis.publish_timeout),
            ("limits", "handshake_timeout", server.limits.handshake_timeout),
            ("limits", "keep_alive_timeout", server.limits.keep_alive_timeout),
            ("heartbeat", "interval", server.heartbeat.interval),
            ("heartbeat", "timeout", server.heartbeat.timeout),
        ] {
            if duration.is_zero() {
                self.problem(section, name, "must be longer than 0s");
            }
        }
        for (section, name, duration) in
            [("heartbeat", "interval", server.heartbeat.interval), ("auth", "leeway", server.auth.leeway)]
        {
            if !duration.is_zero() && duration != Duration::from_secs(duration.as_secs()) {
                self.problem(section, name, "must be whole seconds, such as \"30s\"");
            }
        }
    }

    fn limits(&mut self) {
        let limits = &self.config.settings.server.limits;
        if limits.message_bytes == 0 {
            self.problem("limits", "message_bytes", "must be at least 1");
        }
        if limits.burst == 0 {
            self.problem("limits", "burst", "must be at least 1, or nobody could send anything");
        }
        for (name, bytes) in [("outbox_bytes", limits.outbox_bytes), ("queue_bytes", limits.queue_bytes)] {
            if bytes < limits.message_bytes {
                let message = format!(
                    "{bytes} is less than limits.message_bytes ({}); the largest message has to fit",
                    limits.message_bytes
                );
                self.problem("limits", name, message);
            }
        }
    }

    fn redis(&mut self) {
        let url = self.config.settings.server.redis.url.expose_secret();
        // The parser's own message could quote the password.
        if !url.is_empty() && url.into_connection_info().is_err() {
            self.problem(
                "redis",
                "url",
                "is not a Redis URL: redis://[user:password@]host[:port][/db], with the password percent-encoded",
            );
        }
    }

    fn channels(&mut self) {
        for entry in &self.config.entries {
            let Some(kind) = &entry.key.kind else { continue };
            let mut problem =
                |message| self.problems.push(Problem::new(&entry.key, entry.origin.as_deref(), message));
            if kind.contains(':') {
                problem("a kind has no colon: it is the text before the first one");
            } else if ChannelName::new(kind).is_err() {
                problem(
                    "no channel has such a kind: it has 1 to 200 bytes without control characters, and \"*\" stands for \
                     all other kinds",
                );
            }
            let fields = entry.value.as_array().map(Vec::as_slice).unwrap_or_default();
            if fields.len() > 1 && fields.iter().any(|field| field == "*") {
                problem("\"*\" stands for all keys: it has no other key beside it");
            }
        }
    }

    fn pusher(&mut self) {
        let server = &self.config.settings.server;
        let of_all = server.pusher.problems();
        for problem in &of_all {
            self.problem("pusher", problem.key, problem.message.as_str());
        }
        for (index, problem) in Apps::new(&server.pusher, &server.apps).err().into_iter().flatten() {
            // An app inherits the faults of [pusher], which were told.
            if !of_all.contains(&problem) {
                self.app_problem(index, problem.key, problem.message);
            }
        }
    }

    fn log(&mut self) {
        if let Err(error) = telemetry::validate_filter(&self.config.settings.log.level) {
            self.problem("log", "level", error.to_string());
        }
    }
}

fn odd_secrets(config: &Config) -> Vec<Problem> {
    let server = &config.settings.server;
    let of_tokens = (Key::new("auth", "secret"), "auth.secret".to_owned(), &server.auth.secret);
    let of_apps = server.apps.iter().enumerate();
    let of_apps =
        of_apps.map(|(index, app)| (Key::top("apps"), format!("apps[{index}].secret"), &app.secret));
    std::iter::once(of_tokens)
        .chain(of_apps)
        .filter_map(|(key, at, secret)| {
            Some(Problem::new(at, config.origin(&key), surplus(secret.expose_secret())?))
        })
        .collect()
}

/// What a secret has that was hardly meant to be part of it: what reads a file of variables may take it for that.
fn surplus(secret: &str) -> Option<&'static str> {
    let quoted = |mark: char| secret.len() > 1 && secret.starts_with(mark) && secret.ends_with(mark);
    if quoted('"') || quoted('\'') {
        Some("is in quotation marks, and they count: Docker's --env-file takes none away")
    } else if secret.trim() != secret {
        Some("begins or ends with white space, and that counts")
    } else if secret.contains(" #") {
        Some("goes on behind a \" #\": systemd and Docker take a comment behind a value for a part of it")
    } else {
        None
    }
}

/// What the settings of an app allow and the limits of all do not: it would be lost where nobody expects that.
fn outgrown_limits(config: &Config) -> Vec<Problem> {
    let server = &config.settings.server;
    let check = |rules: &PusherSettings, at: &str, key: &dyn Fn(&str) -> Key| {
        [
            ("presence_members", long_list(rules, &server.limits)),
            ("event_bytes", large_event(rules, &server.limits)),
        ]
        .into_iter()
        .filter_map(|(name, message)| {
            Some(Problem::new(format!("{at}.{name}"), config.origin(&key(name)), message?))
        })
        .collect::<Vec<_>>()
    };
    let differs = |app: &AppSettings| {
        app.presence_members.is_some() || app.presence_user_bytes.is_some() || app.event_bytes.is_some()
    };
    let of_all = server.apps.is_empty() || server.apps.iter().any(|app| app.enabled && !differs(app));
    let of_all = of_all.then(|| check(&server.pusher, "pusher", &|name| Key::new("pusher", name)));
    let own = server.apps.iter().enumerate().filter(|(_, app)| app.enabled && differs(app));
    let own = own.flat_map(|(index, app)| {
        check(&app.over(&server.pusher), &format!("apps[{index}]"), &|_| Key::top("apps"))
    });
    of_all.into_iter().flatten().chain(own).collect()
}

/// Who joins a presence channel is told of all its members at once.
fn long_list(rules: &PusherSettings, limits: &Limits) -> Option<String> {
    let (members, each, outbox) = (rules.presence_members, rules.presence_user_bytes, limits.outbox_bytes);
    let all = members.saturating_mul(each);
    (all > outbox).then(|| {
        format!(
            "{members} members with up to {each} bytes of presence_user_bytes each are {all} bytes, and \
             limits.outbox_bytes is {outbox}: where a channel's list is larger than that, whoever joins is closed with 1013"
        )
    })
}

/// An event is a JSON text within a JSON string: every quotation mark and line break of it takes two bytes.
fn large_event(rules: &PusherSettings, limits: &Limits) -> Option<String> {
    let (bytes, frame, outbox) =
        (rules.event_bytes, rules.event_bytes.saturating_mul(2), limits.outbox_bytes);
    (frame > outbox).then(|| {
        format!(
            "an event of {bytes} bytes may take {frame} on the wire, and limits.outbox_bytes is {outbox}: one that is larger \
             than that is dropped (too_large)"
        )
    })
}

fn auth(config: &mut Config, keys: AuthKeys) -> Vec<Problem> {
    let settings = &config.settings.server.auth;
    let found = match Authenticator::new(settings) {
        Ok(authenticator) => {
            let warnings: Vec<_> = authenticator.warnings().to_vec();
            let warnings: Vec<_> = warnings.into_iter().map(|warning| located(config, warning)).collect();
            config.warnings.extend(warnings);
            let nobody_can_connect = !authenticator.has_keys() && config.settings.server.apps.is_empty();
            let is_wrong = keys == AuthKeys::Required && nobody_can_connect;
            return is_wrong.then(|| Problem::new("auth.secret", None, NOBODY)).into_iter().collect();
        }
        Err(found) => found,
    };
    found.into_iter().map(|problem| located(config, problem)).collect()
}

fn located(config: &Config, found: crate::auth::KeyProblem) -> Problem {
    let name = found.key.trim_start_matches("auth.").split(['.', '[']).next().unwrap_or_default();
    let origin = config.origin(&Key::new("auth", name)).map(str::to_owned);
    Problem::new(found.key, origin.as_deref(), found.message)
}

/// Whether the public port, if it has the same number, cannot be opened beside the admin port.
fn overlap(host: &str, admin: SocketAddr) -> bool {
    if host.eq_ignore_ascii_case("localhost") {
        return admin.ip().is_loopback() || admin.ip().is_unspecified();
    }
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => ip == admin.ip() || ip.is_unspecified() || admin.ip().is_unspecified(),
        Err(_) => false,
    }
}

fn wrong_origins(origins: &[String]) -> impl Iterator<Item = String> {
    origins.iter().filter_map(|origin| {
        OriginPattern::parse(origin).err().map(|error| format!("{origin:?} is not an origin; {error}"))
    })
}

/// A name as a `Host` header has it, without the port. Addresses need not be listed.
fn is_host_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}
