use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Stylize};
use ratatui::text::Line;

use super::figures;
use super::poll::Poll;
use super::table::Table;

/// What is shown, and how.
#[derive(Debug)]
pub(super) struct Screen {
    url: String,
    before: Option<Poll>,
    now: Option<Poll>,
    failure: Option<String>,
    is_paused: bool,
    tables: [Table; 3],
    focus: usize,
}

const FOOTER: &str = " q quit  Tab table  s/S sort  r reverse  ↑↓ scroll  p pause";

impl Screen {
    pub(super) fn new(url: String) -> Self {
        let tables = [
            Table::new("nodes", figures::NODES, 0).with_optional(figures::NODES_OPTIONAL),
            Table::new("channels", figures::CHANNELS, 1),
            Table::new("users", figures::USERS, 1),
        ];
        Self { url, before: None, now: None, failure: None, is_paused: false, tables, focus: 1 }
    }

    /// Sorts a table: `TABLE.COLUMN`.
    pub(super) fn sort_by(&mut self, sort: &str) -> Result<(), String> {
        let (name, column) = sort.split_once('.').unwrap_or((sort, ""));
        match self.tables.iter_mut().find(|table| table.name() == name) {
            Some(table) => table.sort_by(column),
            None => Err(format!("there is no table {name:?}: nodes, channels or users")),
        }
    }

    /// The latest figures.
    pub(super) fn add(&mut self, poll: Poll) {
        self.failure = None;
        if self.is_paused {
            return;
        }
        let before = self.now.take();
        let [nodes, channels, users] = &mut self.tables;
        nodes.set_rows(figures::nodes(before.as_ref(), &poll));
        channels.set_rows(figures::channels(&poll.channels));
        users.set_rows(figures::users(&poll.senders));
        (self.before, self.now) = (before, Some(poll));
    }

    /// The figures could not be read.
    pub(super) fn fail(&mut self, failure: String) {
        self.failure = Some(failure);
    }

    /// Returns whether to go on.
    pub(super) fn press(&mut self, key: KeyEvent) -> bool {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        let count = self.tables.len();
        let table = self.tables.get_mut(self.focus);
        match (key.code, table) {
            (KeyCode::Char('c' | 'd'), _) if is_control => return false,
            (KeyCode::Char('q') | KeyCode::Esc, _) => return false,
            (KeyCode::Tab, _) => self.focus = (self.focus + 1) % count,
            (KeyCode::BackTab, _) => self.focus = (self.focus + count - 1) % count,
            (KeyCode::Char('p' | ' '), _) => self.is_paused = !self.is_paused,
            (KeyCode::Char('s'), Some(table)) => table.sort_by_next(true),
            (KeyCode::Char('S'), Some(table)) => table.sort_by_next(false),
            (KeyCode::Char('r'), Some(table)) => table.reverse(),
            (KeyCode::Down | KeyCode::Char('j'), Some(table)) => table.scroll(true),
            (KeyCode::Up | KeyCode::Char('k'), Some(table)) => table.scroll(false),
            _ => {}
        }
        true
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        // The nodes take a third of the screen at most.
        let nodes = u16::try_from(self.tables[0].len()).unwrap_or(u16::MAX).min((area.height / 3).max(1));
        let [title, summary, _, top, _, bottom, footer] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(nodes + 1),
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(area);
        let [left, _, right] =
            Layout::horizontal([Constraint::Fill(3), Constraint::Length(2), Constraint::Fill(2)])
                .areas(bottom);
        frame.render_widget(self.title(), title);
        if let Some(now) = &self.now {
            frame.render_widget(Line::from(figures::summary(self.before.as_ref(), now)), summary);
        }
        for (index, (table, area)) in self.tables.iter_mut().zip([top, left, right]).enumerate() {
            table.draw(frame, area, index == self.focus);
        }
        frame.render_widget(Line::from(FOOTER).dim(), footer);
    }

    fn title(&self) -> Line<'_> {
        let mut line = Line::from(vec!["yamabiko top".bold(), "  ".into(), self.url.as_str().into()]);
        if let Some(now) = &self.now {
            let count = now.nodes.len();
            line.push_span(format!("  {count} node{}", if count == 1 { "" } else { "s" }));
            if now.missing > 0 {
                line.push_span(format!("  {} not answering", now.missing).bold().fg(Color::Red));
            }
        }
        if self.is_paused {
            line.push_span("  paused".bold().fg(Color::Yellow));
        }
        if let Some(failure) = &self.failure {
            line.push_span(format!("  {failure}").bold().fg(Color::Red));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::cli::top::poll::{BusyChannel, BusySender, Node};
    use crate::unix_time::unix_time;

    fn node(name: &str, connections: u64, deliveries: u64) -> Node {
        Node {
            name: name.to_owned(),
            host: "web".to_owned(),
            started_at: unix_time().as_secs() - 90_000,
            broker: "ready".to_owned(),
            connections,
            connections_limit: 1_000,
            deliveries,
            messages_received: deliveries / 10,
            resident_bytes: 42 << 20,
            cpu_seconds: f64::from(u32::try_from(deliveries).unwrap()) / 1e4,
            ..Node::default()
        }
    }

    fn channel(name: &str, messages_per_second: f64, subscribers: u64) -> BusyChannel {
        BusyChannel { app: None, name: name.to_owned(), subscribers, messages_per_second }
    }

    fn screen() -> Screen {
        let mut screen = Screen::new("http://127.0.0.1:8081".to_owned());
        let at = Instant::now();
        let poll = |at, nodes| Poll {
            at,
            nodes,
            channels: vec![channel("chat:1", 2.0, 900), channel("chat:2", 50.0, 3)],
            senders: vec![BusySender {
                app: Some("shop".to_owned()),
                id: "7".to_owned(),
                messages_per_second: 50.0,
            }],
            missing: 0,
        };
        screen.add(poll(at, vec![node("a", 5, 0), node("b", 700, 0)]));
        let lost = Node { broker: "cannot connect".to_owned(), ..node("b", 800, 40_000) };
        screen.add(Poll { missing: 1, ..poll(at + Duration::from_secs(2), vec![node("a", 5, 200), lost]) });
        screen
    }

    fn lines(screen: &mut Screen, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let cells = terminal.backend().buffer().content().chunks(usize::from(width));
        cells
            .map(|line| {
                let line: String = line.iter().map(ratatui::buffer::Cell::symbol).collect();
                line.trim_end().to_owned()
            })
            .collect()
    }

    fn press(screen: &mut Screen, keys: &[KeyCode]) {
        for key in keys {
            assert!(screen.press(KeyEvent::from(*key)));
        }
    }

    #[test]
    fn a_frame_fits_into_80_by_24() {
        let lines = lines(&mut screen(), 80, 24);
        assert_eq!(
            lines[..12],
            [
                "yamabiko top  http://127.0.0.1:8081  2 nodes  1 not answering",
                "805 connections   messages 2000/s   copies 20.1k/s   refused 0/s   dropped 0/s",
                "",
                "NODE      STATE  CONN FULL  CHAN  IN/s OUT/s REF/s DROP/s SLOW/s  CPU   MEM   UP",
                "web a    ready      5   0%     0    10   100     0      0      0   1%   42M   1d",
                "web b    broker   800  80%     0  2000 20.0k     0      0      0 200%   42M   1d",
                "",
                "CHANNEL                            MSG/s   SUBS  USER                      MSG/s",
                "chat:2                                50      3  shop/7                       50",
                "chat:1                               2.0    900",
                "",
                "",
            ]
        );
        assert_eq!(lines[23].trim(), FOOTER.trim());
    }

    #[test]
    fn the_name_of_a_node_is_not_cut_for_its_age() {
        let mut screen = screen();
        let node = Node { host: "web-1".to_owned(), ..node("0123456789abcd", 5, 200) };
        let poll =
            Poll { at: Instant::now(), nodes: vec![node], channels: vec![], senders: vec![], missing: 0 };
        screen.add(poll);
        let lines = lines(&mut screen, 80, 24);
        let row = &lines[4];
        assert_eq!(
            lines[3],
            "NODE                  STATE  CONN FULL  CHAN  IN/s OUT/s REF/s DROP/s  CPU   MEM"
        );
        assert!(row.starts_with("web-1 0123456789abcd ready      5   0%     0 "), "{row}");
        assert!(super::tests::lines(&mut screen, 92, 24)[3].ends_with("SLOW/s  CPU   MEM   UP"));
        let narrow = super::tests::lines(&mut screen, 50, 24);
        assert_eq!(narrow[3], "NODE                  STATE  CONN  IN/s OUT/s  CPU");
        assert!(narrow[4].starts_with("web-1 0123456789abcd "), "{}", narrow[4]);
    }

    #[test]
    fn each_figure_is_in_its_column() {
        let mut screen = Screen::new(String::new());
        let at = Instant::now();
        let poll = |seconds, node| Poll {
            at: at + Duration::from_secs(seconds),
            nodes: vec![node],
            channels: vec![],
            senders: vec![],
            missing: 0,
        };
        screen.add(poll(0, node("a", 3, 0)));
        let later = Node {
            channels: 13,
            messages_received: 40,
            handshakes_refused: 24,
            messages_refused: 26,
            dropped: 60,
            slow_consumers: 70,
            cpu_seconds: 1.0,
            ..node("a", 300, 80)
        };
        screen.add(poll(2, later));
        let lines = lines(&mut screen, 120, 24);
        let cells: Vec<&str> = lines[4].split_whitespace().collect();
        let expected =
            ["web", "a", "ready", "300", "30%", "13", "20", "40", "25", "30", "35", "50%", "42M", "1d"];
        assert_eq!(cells, expected);
        let sums = "300 connections   messages 20/s   copies 40/s   refused 25/s   dropped 30/s";
        assert_eq!(lines[1], sums);
    }

    #[test]
    fn keys_sort_scroll_and_pause() {
        let mut screen = screen();
        let first =
            |screen: &mut Screen| lines(screen, 80, 24)[8].split_whitespace().next().unwrap().to_owned();
        press(&mut screen, &[KeyCode::Char('s')]);
        assert_eq!(first(&mut screen), "chat:1", "by subscribers");
        press(&mut screen, &[KeyCode::Char('r')]);
        assert_eq!(first(&mut screen), "chat:2", "the fewest first");
        // To the users and back.
        press(&mut screen, &[KeyCode::Tab, KeyCode::Char('r'), KeyCode::BackTab, KeyCode::Char('r')]);
        assert_eq!(first(&mut screen), "chat:1");
        press(&mut screen, &[KeyCode::Down, KeyCode::Up, KeyCode::Char('p')]);
        let poll = Poll { at: Instant::now(), nodes: vec![], channels: vec![], senders: vec![], missing: 0 };
        screen.add(poll);
        assert!(
            lines(&mut screen, 80, 24)[0].contains("2 nodes")
                && lines(&mut screen, 80, 24)[0].ends_with("paused")
        );
        assert!(!screen.press(KeyEvent::from(KeyCode::Char('q'))));
        assert!(!screen.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    }

    #[test]
    fn any_size_and_any_failure_can_be_drawn() {
        let mut screen = screen();
        screen.fail("cannot connect".to_owned());
        assert!(lines(&mut screen, 120, 24)[0].ends_with("cannot connect"));
        for (width, height) in [(1, 1), (10, 3), (40, 8), (300, 100)] {
            lines(&mut screen, width, height);
        }
    }
}
