use std::fmt::Write;
use std::io::{IsTerminal, stdin};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::Context;
use secrecy::ExposeSecret;

use super::signals::Hangup;
use super::{Failure, output, serve};
use crate::auth::TokenIssuer;
use crate::config::{Config, Key};
use crate::message::{ChannelName, Retention};
use crate::protocol::native::ChannelSettings;
use crate::protocol::pusher::AppSettings;

const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// How many ports to try after the first.
const EXTRA_PORTS: u16 = 100;
/// The app to create if the settings have none.
const APP_ID: &str = "dev";
const TOKEN_HOURS: u64 = 12;
/// What kinds of channels keep if the settings name no history for them.
const HISTORY: Retention = Retention { messages: 1_000, age: Duration::from_secs(10 * 60) };

/// The kind whose clients see each other if the settings do not say whether they do.
const PRESENCE_KIND: &str = "chat";

const EXAMPLES: &str = "\
Examples:
  yamabiko dev
  yamabiko dev --port 3000
  yamabiko dev --host 0.0.0.0                   in a container such as Laravel Sail's: publish the port on 127.0.0.1 only
  YAMABIKO__REDIS__URL=redis://127.0.0.1 YAMABIKO__REDIS__PREFIX=laravel_database_ yamabiko dev

It listens on 127.0.0.1 unless --host is given. Anyone who can open the console can obtain a token for any user: do not run
it behind a proxy, and do not listen on an address that others can reach.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The port [default: server.port, or the next free one]
    #[arg(long)]
    port: Option<u16>,

    /// The address to listen on, for containers: anyone who can reach it can create tokens for any user
    #[arg(long, default_value_t = IpAddr::V4(HOST))]
    host: IpAddr,
}

pub(super) fn run(mut config: Config, args: &Args) -> Result<(), Failure> {
    let generated = adapt(&mut config, args)?;
    // Before the banner, which would be wrong if the port were taken.
    let port = config.settings.server.server.port;
    TcpListener::bind((args.host, port)).with_context(|| {
        format!("cannot listen on {}; choose another port with --port", SocketAddr::new(args.host, port))
    })?;
    output::line(&banner(&config, generated, args.host)?)?;
    if !args.host.is_loopback() {
        output::eprint(&format!(
            "warning: listening on {}: anyone who can reach this address can create tokens for any user",
            args.host
        ));
    }
    // With a terminal, end when it closes. Otherwise the process would stay in the background and keep the port.
    let hangup = if stdin().is_terminal() { Hangup::ShutDown } else { Hangup::Log };
    serve::run(config, hangup)
}

/// What was generated for this run because the settings have none.
#[derive(Debug, Clone, Copy)]
struct Generated {
    secret: bool,
    app: bool,
}

/// Changes the settings for use on a developer's machine.
fn adapt(config: &mut Config, args: &Args) -> Result<Generated, Failure> {
    let port_is_chosen = config.origin(&Key::new("server", "port")).is_some();
    let admin_is_chosen = config.origin(&Key::new("admin", "listen")).is_some();
    let presence_is_chosen = config.origin(&Key::of_channel(PRESENCE_KIND, "presence")).is_some();
    let settings = &mut config.settings.server;
    settings.server.host = args.host.to_string();
    settings.server.shutdown_grace = Duration::from_secs(1);
    settings.console.enabled = true;
    let others = || ChannelSettings {
        fields: None,
        targeting: false,
        client_send: true,
        presence: false,
        history: None,
        gate: None,
    };
    settings.channels.entry(ChannelSettings::OTHERS.to_owned()).or_insert_with(others);
    for kind in settings.channels.values_mut() {
        kind.history.get_or_insert(HISTORY);
    }
    if !presence_is_chosen && let Some(chat) = settings.channels.get_mut(PRESENCE_KIND) {
        chat.presence = true;
    }

    settings.server.port = match args.port {
        Some(0) => free_port(args.host, 0, None)?,
        Some(port) => port,
        None if port_is_chosen && settings.server.port != 0 => settings.server.port,
        None => free_port(args.host, settings.server.port, None)?,
    };
    if !admin_is_chosen {
        let port = free_port(IpAddr::V4(HOST), settings.admin.listen.port(), Some(settings.server.port))?;
        settings.admin.listen = SocketAddr::from((HOST, port));
    }

    let nothing_to_sign_with = TokenIssuer::new(&settings.auth).is_err();
    if nothing_to_sign_with {
        settings.auth.secret = random_text(32).into();
        if settings.auth.algorithms.is_empty() {
            settings.auth.algorithms.push("HS256".to_owned());
        }
    }
    let made_app = settings.apps.is_empty();
    if made_app {
        // A fixed key would allow any page open in this machine's browser to connect.
        let key = format!("dev-{}", random_text(8));
        let app = AppSettings::new(APP_ID, &key, random_text(32).into());
        settings.apps.push(AppSettings { client_events: Some(true), ..app });
    }
    Ok(Generated { secret: nothing_to_sign_with, app: made_app })
}

/// The first free port from `first` on, other than `except`. With 0, any free port.
fn free_port(host: IpAddr, first: u16, except: Option<u16>) -> Result<u16, Failure> {
    (first..=first.saturating_add(EXTRA_PORTS))
        .filter(|port| Some(*port) != except)
        .find_map(|port| TcpListener::bind((host, port)).ok()?.local_addr().ok())
        .map(|address| address.port())
        .ok_or_else(|| {
            Failure::Failed(anyhow::anyhow!("no free port from {first} on; choose one with --port"))
        })
}

/// Random bytes in hexadecimal.
fn random_text(bytes: usize) -> String {
    (0..bytes).fold(String::with_capacity(2 * bytes), |mut text, _| {
        let _ = write!(text, "{:02x}", rand::random::<u8>());
        text
    })
}

fn banner(config: &Config, generated: Generated, host: IpAddr) -> Result<String, Failure> {
    let settings = &config.settings.server;
    let (port, admin) = (settings.server.port, settings.admin.listen);
    // The browser runs on this machine, or on the host that the container publishes its port to.
    let at = if host.is_unspecified() { "localhost".to_owned() } else { IpAddr::to_string(&host) };
    let at = if at.contains(':') { format!("[{at}]:{port}") } else { format!("{at}:{port}") };
    let program = program();
    let channel = ChannelName::new("chat:default")
        .map_err(|error| Failure::Failed(anyhow::anyhow!("chat:default: {error}")))?;
    let ttl = Duration::from_secs(TOKEN_HOURS * 3600);
    let token = TokenIssuer::new(&settings.auth)?.issue(&7.into(), "Aoi", &channel, ttl);
    let broker = match config.origin(&Key::new("redis", "url")) {
        Some(origin) => format!("Redis, from {origin}"),
        None => "in memory; set YAMABIKO__REDIS__URL to receive messages from Laravel".to_owned(),
    };
    let secret = if generated.secret {
        // Shown because other terminals and Laravel need it. It is only valid for this run.
        format!(
            "generated for this run:\n            YAMABIKO__AUTH__SECRET={}",
            settings.auth.secret.expose_secret()
        )
    } else {
        "from the settings".to_owned()
    };
    let echo = match settings.apps.as_slice() {
        [app] if generated.app => format!(
            "an app generated for this run:\n            PUSHER_APP_ID={}\n            PUSHER_APP_KEY={}\n            PUSHER_APP_SECRET={}",
            app.id,
            app.key,
            app.secret.expose_secret()
        ),
        apps => {
            let keys: Vec<_> = apps.iter().map(|app| app.key.as_str()).collect();
            format!("from the settings, with the key {}", keys.join(" or "))
        }
    };
    Ok(format!(
        r#"Yamabiko {version}, for development on this machine

  Console   http://{at}/
  Socket    ws://{at}/
  Metrics   http://{admin}/metrics
  Broker    {broker}
  Secret    {secret}
  Echo      {echo}

A token for Aoi (7) on chat:default, valid for {TOKEN_HOURS} hours:

{token}

In a page:

  const token = "{token}";
  const socket = new WebSocket("ws://{at}/?token=" + token);
  socket.onmessage = (event) => console.log(JSON.parse(event.data));
  socket.onopen = () => socket.send(JSON.stringify({{ data: {{ message: "Hello", name: "Aoi" }} }}));

In another terminal:

  {program} listen --url ws://{at} --token {token}

Press Ctrl-C to stop.
"#,
        version = env!("CARGO_PKG_VERSION"),
    ))
}

/// The shell command for this program, which need not be on the PATH.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else { return "yamabiko".to_owned() };
    let path = path.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    if path.chars().all(is_plain) { path.into_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Authenticator;
    use crate::config::{AuthKeys, Environment, load};

    fn adapted(variables: &[(&str, &str)], port: Option<u16>) -> (Config, Generated) {
        let environment: Environment = variables.iter().copied().collect();
        let mut config = load(None, &environment, AuthKeys::Optional).unwrap();
        let generated = adapt(&mut config, &Args { port, host: HOST.into() }).unwrap();
        (config, generated)
    }

    #[test]
    fn it_listens_on_this_machine_only() {
        let (config, _) = adapted(&[("YAMABIKO__SERVER__HOST", "0.0.0.0")], None);
        assert_eq!(config.settings.server.server.host, "127.0.0.1");
        assert!(config.settings.server.admin.listen.ip().is_loopback());
        assert!(config.settings.server.console.enabled);
    }

    #[test]
    fn a_taken_port_is_skipped() {
        let taken = TcpListener::bind((HOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(free_port(HOST.into(), port, None).unwrap() > port);
        let free = free_port(HOST.into(), 0, None).unwrap();
        assert_ne!(free_port(HOST.into(), free, Some(free)).unwrap(), free);
    }

    #[test]
    fn a_chosen_port_is_kept() {
        let taken = TcpListener::bind((HOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(adapted(&[], Some(port)).0.settings.server.server.port, port);
        let (config, _) = adapted(&[("APP_WS_PORT", &port.to_string())], None);
        assert_eq!(config.settings.server.server.port, port);
    }

    #[test]
    fn a_secret_is_generated_only_if_there_is_none() {
        let (config, generated) = adapted(&[], None);
        assert!(generated.secret);
        let (other, _) = adapted(&[], None);
        let secret = |config: &Config| config.settings.server.auth.secret.expose_secret().to_owned();
        assert_eq!(secret(&config).len(), 64);
        assert_ne!(secret(&config), secret(&other));

        let (config, generated) = adapted(&[("APP_WS_JWT_SECRET", "mine")], None);
        assert!(!generated.secret);
        assert_eq!(secret(&config), "mine");
        assert!(!banner(&config, generated, HOST.into()).unwrap().contains("mine"));
    }

    #[test]
    fn an_app_is_generated_only_if_there_is_none() {
        let (config, generated) = adapted(&[], None);
        assert!(generated.app);
        let app = |config: &Config| config.settings.server.apps[0].clone();
        assert_eq!(&*app(&config).id, "dev");
        let key = app(&config).key;
        assert!(key.starts_with("dev-") && key.len() == 20, "{key}");
        assert_ne!(app(&adapted(&[], None).0).key, key);
        let secret = app(&config).secret.expose_secret().to_owned();
        assert_eq!(secret.len(), 64);
        assert_ne!(secret, config.settings.server.auth.secret.expose_secret());
        assert!(
            banner(&config, generated, HOST.into())
                .unwrap()
                .contains(&format!("PUSHER_APP_SECRET={secret}\n"))
        );

        let mine = [("PUSHER_APP_ID", "1"), ("PUSHER_APP_KEY", "k"), ("PUSHER_APP_SECRET", "hidden")];
        let (config, generated) = adapted(&mine, None);
        assert!(!generated.app);
        assert_eq!(config.settings.server.apps.len(), 1);
        let banner = banner(&config, generated, HOST.into()).unwrap();
        assert!(banner.contains("with the key k\n") && !banner.contains("hidden"), "{banner}");
    }

    #[test]
    fn every_kind_of_channel_has_a_history() {
        let own = [("YAMABIKO__CHANNELS__CHAT__HISTORY", r#"{ messages = 5, age = "1m" }"#)];
        let (config, _) = adapted(&own, None);
        let of = |kind: &str| config.settings.server.channels[kind].history.map(|kept| kept.messages);
        assert_eq!(
            [of("chat"), of("tweet"), of("progress"), of("*")],
            [Some(5), Some(1000), Some(1000), Some(1000)]
        );
    }

    #[test]
    fn the_token_in_the_banner_is_accepted() {
        let (config, generated) = adapted(&[], Some(3000));
        let banner = banner(&config, generated, HOST.into()).unwrap();
        assert!(banner.contains("http://127.0.0.1:3000/\n"), "{banner}");
        let token = banner.lines().find(|line| line.starts_with("eyJ")).unwrap();
        let program = std::env::current_exe().unwrap();
        let listen = format!("\n  {} listen --url ws://127.0.0.1:3000 --token {token}\n", program.display());
        assert!(banner.contains(&listen), "{banner}");
        assert!(banner.contains(&format!("\n  const token = \"{token}\";\n")), "{banner}");
        let authenticator = Authenticator::new(&config.settings.server.auth).unwrap();
        let identity = authenticator.verify(token, jsonwebtoken::get_current_timestamp()).unwrap();
        assert_eq!(
            (identity.id, &*identity.name, identity.channel.as_str()),
            (7.into(), "Aoi", "chat:default")
        );
    }
}
