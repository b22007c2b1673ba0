//! Checks that the types of the settings cannot express.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use secrecy::ExposeSecret;

use super::{AuthKeys, Config, Key, Problem, secrets, warnings};
use crate::auth::Authenticator;
use crate::broker;
use crate::message::ChannelName;
use crate::protocol::pusher::Apps;
use crate::telemetry;
use crate::transport::OriginPattern;
use crate::webhook_target::InvalidWebhook;

const NO_CREDENTIALS: &str = "is not set and there is no Pusher app, so no client could connect; set \
                              YAMABIKO__AUTH__SECRET or APP_WS_JWT_SECRET to the secret that Laravel signs with, or, \
                              for Laravel Echo, PUSHER_APP_ID, PUSHER_APP_KEY and PUSHER_APP_SECRET (`yamabiko dev` \
                              generates its own)";

const PLACEHOLDER: &str = "is the placeholder of an example, which everyone knows; set it to the output of `openssl rand -hex 32`, and \
                           give Laravel the same one";

/// Returns the problems of the settings and adds warnings to `config.warnings`.
pub(super) fn run(config: &mut Config, keys: AuthKeys) -> Vec<Problem> {
    let mut checks = Checks { config, problems: Vec::new() };
    checks.ports();
    checks.secrets();
    checks.api();
    checks.origins();
    checks.durations();
    checks.limits();
    checks.recovery();
    checks.redis();
    checks.channels();
    checks.pusher();
    checks.events();
    checks.log();
    checks.tracing();
    let problems = checks.problems;
    let warnings = warnings::of(config);
    config.warnings.extend(warnings);
    let auth = auth(config, keys);
    problems.into_iter().chain(auth).collect()
}

/// The longest duration of a setting, which can be added to a time and doubled.
const MAX_DURATION: Duration = Duration::from_secs(10 * 31_557_600);

const TOO_LONG: &str = "must be at most 10years";

struct Checks<'a> {
    config: &'a Config,
    problems: Vec<Problem>,
}

impl Checks<'_> {
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
            self.problem("server", "host", "is empty; use 0.0.0.0 to listen on all addresses");
        }
        if public.port != 0 && public.port == admin.port() && overlap(&public.host, admin) {
            let message =
                format!("{admin} is already used by server.host and server.port; choose another port");
            self.problem("admin", "listen", message);
        }
        for host in server.admin.hosts.iter().filter(|host| !is_host_name(host)) {
            let message = format!(
                "{host:?} is not a host name; write it without scheme and port, such as \"yamabiko\""
            );
            self.problem("admin", "hosts", message);
        }
    }

    fn secrets(&mut self) {
        let placeholders = secrets::of(self.config).filter(secrets::NamedSecret::is_placeholder);
        let problems = placeholders
            .map(|secret| Problem::new(&*secret.at, self.config.origin(&secret.key), PLACEHOLDER));
        self.problems.extend(problems);
    }

    fn api(&mut self) {
        let api = &self.config.settings.server.api;
        let problems = api.problems();
        for problem in problems {
            let origin = self.config.origin(&Key::new("api", problem.setting)).map(str::to_owned);
            self.problems.push(Problem::new(problem.at, origin.as_deref(), problem.message));
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
        let never_zero = [
            ("redis", "publish_timeout", server.redis.publish_timeout),
            ("limits", "handshake_timeout", server.limits.handshake_timeout),
            ("limits", "keep_alive_timeout", server.limits.keep_alive_timeout),
            ("heartbeat", "interval", server.heartbeat.interval),
            ("heartbeat", "timeout", server.heartbeat.timeout),
            ("recovery", "window", server.recovery.window),
            ("auth", "max_token_age", server.auth.max_token_age),
        ];
        for (section, name, duration) in never_zero {
            if duration.is_zero() {
                self.problem(section, name, "must be longer than 0s");
            }
        }
        let others = [
            ("server", "shutdown_grace", server.server.shutdown_grace),
            ("auth", "leeway", server.auth.leeway),
            ("pusher", "activity_timeout", server.pusher.activity_timeout),
            ("pusher", "pong_timeout", server.pusher.pong_timeout),
            ("pusher", "authorization_timeout", server.pusher.authorization_timeout),
            ("pusher", "cache_ttl", server.pusher.cache_ttl),
        ];
        for (section, name, duration) in never_zero.into_iter().chain(others) {
            if duration > MAX_DURATION {
                self.problem(section, name, TOO_LONG);
            }
        }
        for (index, app) in server.apps.iter().enumerate() {
            for (name, duration) in [
                ("activity_timeout", app.activity_timeout),
                ("pong_timeout", app.pong_timeout),
                ("authorization_timeout", app.authorization_timeout),
                ("cache_ttl", app.cache_ttl),
            ] {
                if duration.is_some_and(|duration| duration > MAX_DURATION) {
                    self.app_problem(index, name, TOO_LONG);
                }
            }
        }
        for (kind, rules) in &server.channels {
            if rules.gate.as_ref().is_some_and(|gate| gate.timeout > MAX_DURATION) {
                let key = Key::of_channel(kind, "gate");
                let origin = self.config.origin(&key).map(str::to_owned);
                self.problems.push(Problem::new(format!("{key}.timeout"), origin.as_deref(), TOO_LONG));
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
            self.problem("limits", "burst", "must be at least 1, or no client could send a message");
        }
        for (name, bytes) in [("outbox_bytes", limits.outbox_bytes), ("queue_bytes", limits.queue_bytes)] {
            if bytes < limits.message_bytes {
                let message = format!(
                    "{bytes} is less than limits.message_bytes ({}), so the largest message would not fit",
                    limits.message_bytes
                );
                self.problem("limits", name, message);
            }
        }
    }

    fn recovery(&mut self) {
        let server = &self.config.settings.server;
        let (channel, total) = (server.recovery.channel_bytes, server.recovery.total_bytes);
        // A message is kept as it arrived and as it is sent.
        let (message, least) = (server.limits.message_bytes, server.limits.message_bytes.saturating_mul(2));
        if channel < least {
            let message = format!(
                "{channel} is less than twice limits.message_bytes ({message}), so the largest message would not fit"
            );
            self.problem("recovery", "channel_bytes", message);
        }
        if total < channel {
            let message = format!("{total} is less than recovery.channel_bytes ({channel})");
            self.problem("recovery", "total_bytes", message);
        }
    }

    fn redis(&mut self) {
        if let Err(error) = broker::check_url(&self.config.settings.server.redis.url) {
            self.problem("redis", "url", error.to_string());
        }
    }

    fn channels(&mut self) {
        for entry in &self.config.entries {
            let Some(kind) = &entry.key.kind else { continue };
            let mut problem =
                |message| self.problems.push(Problem::new(&entry.key, entry.origin.as_deref(), message));
            if kind.contains(':') {
                problem("the kind must not contain a colon: it is the text before the first one");
            } else if ChannelName::new(kind).is_err() {
                problem(
                    "the kind must have 1 to 200 bytes and no control characters; \"*\" stands for all other kinds",
                );
            }
            let fields = entry.value.as_array().map(Vec::as_slice).unwrap_or_default();
            if fields.len() > 1 && fields.iter().any(|field| field == "*") {
                problem("\"*\" stands for all keys and must be the only one");
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
            // Apps inherit the problems of [pusher], which are already reported.
            if !of_all.contains(&problem) {
                self.app_problem(index, problem.key, problem.message);
            }
        }
    }

    fn events(&mut self) {
        let server = &self.config.settings.server;
        for (index, webhook) in server.webhooks.iter().enumerate() {
            if let Err(error) = webhook.target() {
                let origin = self.config.origin(&Key::top("webhooks")).map(str::to_owned);
                let at = format!("webhooks[{index}]");
                self.problems.push(Problem::new(at, origin.as_deref(), error.to_string()));
            }
        }
        let has_gate = server.channels.values().any(|rules| rules.gate.is_some());
        if (has_gate || !server.webhooks.is_empty())
            && let Some(message) = server.events.secret_problem()
        {
            self.problem("events", "secret", message);
        }
        if server.events.stream && server.redis.url.expose_secret().is_empty() {
            self.problem("events", "stream", "needs redis.url: the stream is in Redis");
        }
        if server.events.stream_entries == 0 {
            self.problem("events", "stream_entries", "must be at least 1");
        }
    }

    fn tracing(&mut self) {
        let tracing = &self.config.settings.server.tracing;
        if let Some(Err(error)) = tracing.target() {
            match error {
                InvalidWebhook::Url => {
                    let message = "is not a URL of http or https; write it as \"http://127.0.0.1:4318\"";
                    self.problem("tracing", "endpoint", message);
                }
                InvalidWebhook::TwoAuthorizations => {
                    let message =
                        "has user:password@ beside an Authorization in tracing.headers; remove one of them";
                    self.problem("tracing", "endpoint", message);
                }
                other => self.problem("tracing", "headers", other.to_string()),
            }
        }
        if !(0.0..=1.0).contains(&tracing.sample) {
            self.problem("tracing", "sample", format!("must be from 0 to 1, not {}", tracing.sample));
        }
    }

    fn log(&mut self) {
        if let Err(error) = telemetry::validate_filter(&self.config.settings.log.level) {
            self.problem("log", "level", error.to_string());
        }
    }
}

fn auth(config: &mut Config, keys: AuthKeys) -> Vec<Problem> {
    let settings = &config.settings.server.auth;
    let found = match Authenticator::new(settings) {
        Ok(authenticator) => {
            let warnings: Vec<_> = authenticator.warnings();
            let warnings: Vec<_> = warnings.into_iter().map(|warning| located(config, warning)).collect();
            config.warnings.extend(warnings);
            let no_credentials = !authenticator.has_keys() && config.settings.server.apps.is_empty();
            let is_missing = keys == AuthKeys::Required && no_credentials;
            return is_missing
                .then(|| Problem::new("auth.secret", None, NO_CREDENTIALS))
                .into_iter()
                .collect();
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

/// Whether the public host and the admin address overlap, so that they cannot use the same port.
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

/// Whether it is a host name without a port. IP addresses need not be listed.
fn is_host_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}
