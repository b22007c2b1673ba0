//! `yamabiko bench`: describes the deployment of these settings to the load generator, and signs for it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use loadgen::{BenchError, Credentials, Deployment, MintToken, Options, Protocol, RedisTopic, Report};
use secrecy::ExposeSecret;

use super::{Failure, client, output, rlimit};
use crate::auth::TokenIssuer;
use crate::auth::pusher::{AppCredentials, SignedRequest};
use crate::config::Config;
use crate::message::ChannelName;
use crate::protocol::pusher::AppSettings;
use crate::server::Settings;
use crate::unix_time::unix_time;

const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

pub(super) fn run(config: &mut Config, options: &Options) -> Result<(), Failure> {
    ChannelName::new(&options.last_channel())
        .map_err(|error| Failure::Usage(format!("--channel: {error}")))?;
    let deployment = deployment(config, options)?;
    let report = loadgen::run(options, deployment, rlimit::raise_open_files(0))?;
    write(&report, options)?;
    if report.faults.is_empty() { Ok(()) } else { Err(anyhow!(report.faults.join("; ")).into()) }
}

fn deployment(config: &mut Config, options: &Options) -> Result<Deployment, Failure> {
    if let Some(file) = &options.secret_file {
        take_secret(&mut config.settings.server, file)?;
    }
    let settings = &config.settings.server;
    let mut messages_per_second = settings.limits.messages_per_second;
    let credentials = match options.protocol {
        Protocol::Native => Credentials::Tokens(mint(TokenIssuer::new(&settings.auth)?)),
        Protocol::Pusher => {
            let app = choose(&settings.apps, options.app_key.as_deref())?;
            let client_events = app.with_defaults(&settings.pusher).client_events_per_second;
            let limits = [messages_per_second, client_events];
            messages_per_second = limits.into_iter().filter(|limit| *limit > 0).min().unwrap_or_default();
            let app = AppCredentials::new(&app.id, &app.key, vec![app.secret.clone()])
                .map_err(|error| Failure::Usage(format!("the app {:?}: {error}", app.key)))?;
            Credentials::App(Arc::new(SigningApp(app)))
        }
        Protocol::Plain => {
            messages_per_second = 0;
            Credentials::None
        }
    };
    let redis = &settings.redis;
    let redis = (!redis.url.expose_secret().is_empty())
        .then(|| RedisTopic { url: redis.url.clone(), topic: format!("{}broadcast", redis.prefix) });
    Ok(Deployment { url: client::local_url(config), credentials, messages_per_second, redis })
}

fn mint(issuer: TokenIssuer) -> MintToken {
    Box::new(move |user, channel| {
        Ok(issuer.issue(&user.into(), "Benchmark", &ChannelName::new(channel)?, TOKEN_TTL))
    })
}

/// The app with this key, or the only one.
fn choose<'a>(apps: &'a [AppSettings], key: Option<&str>) -> Result<&'a AppSettings, Failure> {
    let keys = || apps.iter().map(|app| app.key.as_str()).collect::<Vec<_>>().join(", ");
    match (apps, key) {
        ([], _) => Err(Failure::Usage(
            "--protocol pusher needs an app: PUSHER_APP_ID, PUSHER_APP_KEY and PUSHER_APP_SECRET, or [[apps]]"
                .to_owned(),
        )),
        ([app], None) => Ok(app),
        (_, None) => Err(Failure::Usage(format!("several apps are configured; choose one with --app-key: {}", keys()))),
        (_, Some(key)) => apps
            .iter()
            .find(|app| app.key == key)
            .ok_or_else(|| Failure::Usage(format!("--app-key {key}: no such app; configured: {}", keys()))),
    }
}

/// Signs as the application's server does.
struct SigningApp(AppCredentials);

impl loadgen::AppSigner for SigningApp {
    fn id(&self) -> &str {
        self.0.id()
    }

    fn key(&self) -> &str {
        self.0.key()
    }

    fn sign_channel(&self, socket_id: &str, channel: &str) -> String {
        self.0.sign_channel(socket_id, channel, None)
    }

    fn sign_request(&self, path: &str, body: &[u8]) -> String {
        let now = unix_time().as_secs();
        self.0.sign_request(&SignedRequest { method: "POST", path, query: "", body }, now)
    }
}

fn take_secret(settings: &mut Settings, file: &Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("--secret-file {}: {error}", file.display())))?;
    settings.auth.secret = text.trim_end_matches(['\r', '\n']).into();
    if settings.auth.algorithms.is_empty() {
        settings.auth.algorithms.push("HS256".to_owned());
    }
    Ok(())
}

fn write(report: &Report, options: &Options) -> Result<(), Failure> {
    let Some(file) = &options.json else { return output::line(&report.to_string()) };
    let json = report.to_json().context("cannot write JSON")?;
    if file.as_os_str() == "-" {
        return output::line(&json);
    }
    std::fs::write(file, json + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    output::line(&report.to_string())
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Usage(message) => Self::Usage(message),
            BenchError::Failed(error) => Self::Failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn an_app_is_chosen_by_its_key() {
        let app = |key| AppSettings::new("1", key, SecretString::from("s"));
        let apps = [app("a"), app("b")];
        let chosen = |apps: &[AppSettings], key| choose(apps, key).map(|app| app.key.clone()).ok();
        assert_eq!(chosen(&apps[..1], None).as_deref(), Some("a"));
        assert_eq!(chosen(&apps, Some("b")).as_deref(), Some("b"));
        assert_eq!([chosen(&[], None), chosen(&apps, None), chosen(&apps, Some("c"))], [None, None, None]);
    }
}
