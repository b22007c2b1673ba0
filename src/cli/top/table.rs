use std::cmp::Ordering;

use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Row, Table as Widget};
use ratatui::{Frame, widgets};

/// Columns do not give way to more of a name than this, in characters.
const LONG_NAME: usize = 20;

/// A field of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    text: String,
    /// Numbers are sorted as such, and aligned to the right.
    number: Option<f64>,
    is_alarm: bool,
}

/// Rows that can be sorted by each column.
#[derive(Debug)]
pub(super) struct Table {
    name: &'static str,
    columns: &'static [(&'static str, u16)],
    /// The titles of columns that are left out while the first column is narrower than its texts or [`LONG_NAME`], the first
    /// one first.
    optional: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
    sorted_by: usize,
    is_reversed: bool,
    /// The first row that is shown.
    offset: usize,
}

impl Cell {
    pub(super) fn text(text: &str) -> Self {
        Self { text: printable(text), number: None, is_alarm: false }
    }

    pub(super) fn alarm(text: &str) -> Self {
        Self { text: text.to_owned(), number: None, is_alarm: true }
    }

    pub(super) fn number(number: f64, text: String) -> Self {
        Self { text, number: Some(number), is_alarm: false }
    }

    /// The largest number first, texts in their order.
    fn compare(&self, other: &Self) -> Ordering {
        match (self.number, other.number) {
            (Some(number), Some(other)) => other.total_cmp(&number),
            _ => self.text.cmp(&other.text),
        }
    }
}

impl Table {
    pub(super) fn new(name: &'static str, columns: &'static [(&'static str, u16)], sorted_by: usize) -> Self {
        Self { name, columns, optional: &[], rows: Vec::new(), sorted_by, is_reversed: false, offset: 0 }
    }

    /// The same, with columns that give way to the first one.
    pub(super) fn with_optional(self, optional: &'static [&'static str]) -> Self {
        Self { optional, ..self }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn set_rows(&mut self, rows: Vec<Vec<Cell>>) {
        self.rows = rows;
        self.sort();
    }

    /// Sorts by the column with this title, in any case.
    pub(super) fn sort_by(&mut self, title: &str) -> Result<(), String> {
        let found = self.columns.iter().position(|(known, _)| known.eq_ignore_ascii_case(title));
        self.sorted_by = found.ok_or_else(|| {
            let known: Vec<String> = self.columns.iter().map(|(known, _)| known.to_lowercase()).collect();
            format!("{} has no column {title:?}; it has {}", self.name, known.join(", "))
        })?;
        self.sort();
        Ok(())
    }

    /// Sorts by the column to the right or left.
    pub(super) fn sort_by_next(&mut self, is_forward: bool) {
        let count = self.columns.len();
        self.sorted_by = (self.sorted_by + if is_forward { 1 } else { count - 1 }) % count;
        self.sort();
    }

    pub(super) fn reverse(&mut self) {
        self.is_reversed = !self.is_reversed;
        self.sort();
    }

    pub(super) fn scroll(&mut self, is_down: bool) {
        self.offset = if is_down { self.offset + 1 } else { self.offset.saturating_sub(1) };
    }

    fn sort(&mut self) {
        let (column, is_reversed) = (self.sorted_by, self.is_reversed);
        self.rows.sort_by(|a, b| {
            let order = match (a.get(column), b.get(column)) {
                (Some(a), Some(b)) => a.compare(b),
                _ => Ordering::Equal,
            };
            // Rows with equal values keep their places when figures change.
            let order = if is_reversed { order.reverse() } else { order };
            order.then_with(|| a.first().map(|cell| &cell.text).cmp(&b.first().map(|cell| &cell.text)))
        });
    }

    /// The columns that are shown in this width, by their places.
    fn shown(&self, width: u16) -> Vec<usize> {
        let names = self.rows.iter().filter_map(|row| row.first());
        let longest = names.map(|name| name.text.chars().count()).max().unwrap_or_default().min(LONG_NAME);
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        for optional in self.optional {
            let others =
                shown.iter().filter_map(|index| self.columns.get(*index)).filter(|(_, width)| *width > 0);
            let taken: usize = others.map(|(_, width)| usize::from(*width) + 1).sum();
            if usize::from(width).saturating_sub(taken) >= longest {
                break;
            }
            shown.retain(|index| self.columns.get(*index).is_none_or(|(title, _)| title != optional));
        }
        shown
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>, area: Rect, has_focus: bool) {
        let space = usize::from(area.height.saturating_sub(1));
        self.offset = self.offset.min(self.rows.len().saturating_sub(space));
        let shown = self.shown(area.width);
        let columns = || shown.iter().filter_map(|index| Some((*index, self.columns.get(*index)?)));
        let titles = columns().map(|(index, (title, width))| {
            let line = if *width == 0 { Line::from(*title) } else { Line::from(*title).right_aligned() };
            if index == self.sorted_by { line.underlined() } else { line }
        });
        let header = Row::new(titles).style(if has_focus {
            Style::new().bold().fg(Color::Black).bg(Color::Cyan)
        } else {
            Style::new().bold().reversed()
        });
        let rows = self.rows.iter().skip(self.offset).take(space).map(|row| {
            let cells = shown.iter().filter_map(|index| row.get(*index)).map(|cell| {
                let line = Line::from(cell.text.as_str());
                let line = if cell.number.is_some() { line.right_aligned() } else { line };
                let text = Text::from(if cell.is_alarm { line.bold().fg(Color::Red) } else { line });
                widgets::Cell::from(text)
            });
            Row::new(cells)
        });
        let widths = columns().map(|(_, (_, width))| match width {
            0 => Constraint::Fill(1),
            width => Constraint::Length(*width),
        });
        frame.render_widget(Widget::new(rows, widths).header(header).column_spacing(1), area);
    }
}

/// Names come from clients: a control character would reach the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new("users", &[("USER", 0), ("MSG/s", 6)], 1);
        let row = |name: &str, rate: f64| vec![Cell::text(name), Cell::number(rate, String::new())];
        table.set_rows(vec![row("b", 1.0), row("c", 9.0), row("a", 1.0)]);
        table
    }

    fn names(table: &Table) -> String {
        table.rows.iter().map(|row| row[0].text.as_str()).collect()
    }

    #[test]
    fn rows_are_sorted_by_any_column_in_both_directions() {
        let mut table = table();
        assert_eq!(names(&table), "cab");
        table.reverse();
        assert_eq!(names(&table), "abc", "equal ones stay in the order of their names");
        table.reverse();
        table.sort_by_next(true);
        assert_eq!(names(&table), "abc");
        table.sort_by_next(false);
        assert_eq!(names(&table), "cab");
        table.sort_by("user").unwrap();
        assert_eq!(names(&table), "abc");
        assert_eq!(table.sort_by("x").unwrap_err(), "users has no column \"x\"; it has user, msg/s");
    }

    #[test]
    fn columns_give_way_to_long_names() {
        const COLUMNS: &[(&str, u16)] = &[("NODE", 0), ("MEM", 5), ("UP", 4)];
        let mut table = Table::new("nodes", COLUMNS, 0).with_optional(&["UP", "MEM"]);
        table.set_rows(vec![vec![Cell::text("0123456789")]]);
        let shown = [21, 20, 16, 15, 1].map(|width| table.shown(width).len());
        assert_eq!(shown, [3, 2, 2, 1, 1]);
        table.set_rows(vec![vec![Cell::text(&"a".repeat(100))]]);
        assert_eq!([31, 30].map(|width| table.shown(width).len()), [3, 2], "a very long name is cut instead");
    }

    #[test]
    fn names_cannot_control_the_terminal() {
        assert_eq!(Cell::text("a\u{1b}[2J\u{9b}").text, "a\u{fffd}[2J\u{fffd}");
    }
}
