//! `yamabiko top`: what the nodes do, in a terminal.

mod figures;
mod poll;
mod screen;
mod table;
mod terminal;

use std::io::{IsTerminal, stdin, stdout};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use tokio::runtime::{Builder, Runtime};

use super::http_client::{HttpClient, OperatorArgs};
use super::{Failure, output};
use crate::config::Config;
use poll::poll;
use screen::Screen;
use terminal::Update;

const EXAMPLES: &str = "\
Examples:
  yamabiko top                                   the server on this machine, and all nodes that it knows
  yamabiko top --url http://10.0.3.7:8081 --key-file ~/.yamabiko-key
  yamabiko top --once --sort users.msg/s         one frame as text, for scripts

Keys:
  q, Esc, Ctrl-C   quit                          Tab, Shift-Tab   next, previous table
  s, S             sort by the next, previous    Up, Down         scroll
  r                reverse the order             p, Space         pause

The figures are those of /api/v1/nodes and /api/v1/traffic. The key is read from --key-file or the variable
YAMABIKO_API_KEY and needs the scope `read`. On a loopback address of a server without keys, none is needed. Rates are
those between two requests. Nodes count the messages of channels and users only while somebody asks. Users are those of
native channels, and members that send client events to presence channels.";

/// The size of a frame that is not shown on a terminal.
const PAGE: (u16, u16) = (80, 24);

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    operator: OperatorArgs,

    /// How often to ask
    #[arg(long, short = 'i', value_name = "TIME", default_value = "2s", value_parser = interval)]
    interval: Duration,

    /// Sort a table by a column: nodes.COLUMN, channels.COLUMN or users.COLUMN, with the title of the column; may be repeated
    #[arg(long, value_name = "TABLE.COLUMN")]
    sort: Vec<String>,

    /// Print one frame after one interval, and exit
    #[arg(long)]
    once: bool,
}

/// `config` is only read if no URL is given.
pub(super) fn run(args: &Args, config: impl FnOnce() -> Result<Config, Failure>) -> Result<(), Failure> {
    let client = args.operator.client(config, Duration::from_secs(5))?;
    let mut screen = Screen::new(client.url.to_string());
    for sort in &args.sort {
        screen.sort_by(sort).map_err(Failure::Usage)?;
    }
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    if args.once {
        return once(&runtime, &client, args.interval, screen);
    }
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return Err(Failure::Usage("top needs a terminal; --once prints one frame as text".to_owned()));
    }
    // A wrong address or key is an error of the command. Later failures are shown on the screen.
    screen.add(runtime.block_on(poll(&client))?);
    let (updates, received) = mpsc::channel();
    let interval = args.interval;
    thread::spawn(move || runtime.block_on(keep_polling(&client, interval, &updates)));
    Ok(terminal::run(&mut screen, &received).context("cannot use the terminal")?)
}

fn once(
    runtime: &Runtime,
    client: &HttpClient,
    interval: Duration,
    mut screen: Screen,
) -> Result<(), Failure> {
    screen.add(runtime.block_on(poll(client))?);
    thread::sleep(interval);
    screen.add(runtime.block_on(poll(client))?);
    output::line(&text(&mut screen)?)
}

/// A frame as text.
fn text(screen: &mut Screen) -> anyhow::Result<String> {
    let mut terminal = Terminal::new(TestBackend::new(PAGE.0, PAGE.1)).context("cannot draw")?;
    terminal.draw(|frame| screen.draw(frame)).context("cannot draw")?;
    let buffer = terminal.backend().buffer();
    let lines = buffer.content().chunks(usize::from(PAGE.0)).map(|line| {
        let line: String = line.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned()
    });
    Ok(lines.collect::<Vec<String>>().join("\n").trim_end().to_owned())
}

/// Ends when the receiver of the updates is dropped, or at a signal.
async fn keep_polling(client: &HttpClient, interval: Duration, updates: &mpsc::Sender<Update>) {
    let end = super::signals::any_end();
    tokio::pin!(end);
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        let update = tokio::select! {
            () = &mut end => Update::Quit,
            _ = ticks.tick() => match poll(client).await {
                Ok(poll) => Update::Polled(poll),
                Err(error) => Update::Failed(format!("{error:#}")),
            },
        };
        let ends = matches!(update, Update::Quit);
        if updates.send(update).is_err() || ends {
            return;
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if interval < Duration::from_secs(1) {
        return Err("must be at least 1s, over which nodes count messages".to_owned());
    }
    if interval > Duration::from_secs(24 * 60 * 60) {
        return Err("must be at most 1day".to_owned());
    }
    Ok(interval)
}
