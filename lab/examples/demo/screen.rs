//! What the watcher sees.

use std::{
    io::{self, IsTerminal, Stdout, Write},
    iter,
};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use lab::town::Finding;
use textwrap::{Options, core::display_width, termwidth, wrap};

/// Lines longer than this are hard to read.
const WIDEST: usize = 96;
const NARROWEST: usize = 50;

/// How wide a speaker's name and the line beside it are.
const MARGIN: usize = 14;

pub(crate) const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Which of the two chats something happens in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Old,
    New,
}

impl Lane {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Old => AnsiColor::Yellow.on_default(),
            Self::New => AnsiColor::Cyan.on_default(),
        }
    }
}

/// Standard output: with colors and lines that replace each other on a terminal, plain elsewhere.
#[derive(Debug)]
pub(crate) struct Screen {
    out: AutoStream<Stdout>,
    width: usize,
    terminal: bool,
    /// How many lines at the bottom the next [`update`](Self::update) replaces.
    passing: usize,
    /// The last line is empty.
    apart: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        let width = termwidth().clamp(NARROWEST, WIDEST);
        Self { out: anstream::stdout(), width, terminal, passing: 0, apart: true }
    }

    /// Whether somebody watches, rather than a file or another program.
    pub(crate) fn is_watched(&self) -> bool {
        self.terminal
    }

    pub(crate) fn title(&mut self, text: &str) -> io::Result<()> {
        self.styled(BOLD, text)?;
        self.gap()
    }

    pub(crate) fn heading(&mut self, text: &str) -> io::Result<()> {
        let rule = self.width.saturating_sub(display_width(text) + 4);
        self.gap()?;
        self.styled(BOLD, &format!("── {text} {}", "─".repeat(rule)))?;
        self.gap()
    }

    /// Says what takes a while.
    pub(crate) fn doing(&mut self, what: &str) -> io::Result<()> {
        self.line(&format!("{what} …"))
    }

    /// An empty line, unless there is one already.
    pub(crate) fn gap(&mut self) -> io::Result<()> {
        if self.apart { Ok(()) } else { self.line("") }
    }

    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        self.passing = 0;
        self.apart = text.is_empty();
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// What somebody says in one of the chats.
    pub(crate) fn speech(&mut self, lane: Lane, who: &str, text: &str) -> io::Result<()> {
        let lines = self.wrapped(text);
        self.gap()?;
        for (number, line) in lines.iter().enumerate() {
            match number {
                0 => self.beside(lane, lane.name(), &format!("{BOLD}{who:<6}{BOLD:#} {line}"))?,
                _ => self.beside(lane, "", &format!("       {line}"))?,
            }
        }
        self.gap()
    }

    /// What happens in one of the chats that is not said.
    pub(crate) fn remark(&mut self, lane: Lane, text: &str) -> io::Result<()> {
        self.gap()?;
        for line in self.wrapped(text) {
            self.beside(lane, "", &format!("       {DIM}{line}{DIM:#}"))?;
        }
        self.gap()
    }

    /// How a message reads after an edit. On a terminal it replaces the update before it, if
    /// nothing else was shown since.
    pub(crate) fn update(&mut self, lane: Lane, text: &str) -> io::Result<()> {
        if self.terminal && self.passing > 0 {
            // Up, and clear from there on.
            write!(self.out, "\x1b[{}A\x1b[J", self.passing)?;
        }
        let lines = self.wrapped(text);
        for (number, line) in lines.iter().enumerate() {
            let pen = if number == 0 { "✎" } else { " " };
            self.beside(lane, "", &format!("     {DIM}{pen}{DIM:#} {line}"))?;
        }
        self.passing = lines.len();
        Ok(())
    }

    /// A table. On a terminal that is too narrow it goes without its second column.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<Cell>]) -> io::Result<()> {
        let head = head.iter().map(|text| Cell { style: DIM, ..Cell::plain(*text) }).collect();
        let mut lines: Vec<Vec<Cell>> = iter::once(head).chain(rows.iter().cloned()).collect();
        if self.terminal
            && widths(&lines).iter().map(|width| width + 2).sum::<usize>() > termwidth()
        {
            lines.iter_mut().for_each(|line| drop(line.remove(1)));
        }
        let widths = widths(&lines);
        for line in &lines {
            let cells = line.iter().zip(&widths).map(|(cell, width)| {
                let rest = width.saturating_sub(cell.width());
                format!("{}{:rest$}", cell.styled(), "")
            });
            self.line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }

    fn beside(&mut self, lane: Lane, tag: &str, text: &str) -> io::Result<()> {
        let style = lane.style();
        self.line(format!("{style} {tag:>3} │{style:#} {text}").trim_end())
    }

    fn styled(&mut self, style: Style, text: &str) -> io::Result<()> {
        self.line(&format!("{style}{text}{style:#}"))
    }

    /// Breaks what is too long, and keeps points of lists apart from each other.
    fn wrapped(&self, text: &str) -> Vec<String> {
        let width = self.width - MARGIN;
        let wrapped = |line: &str| {
            let indent = " ".repeat(point(line));
            let lines = wrap(line, Options::new(width).subsequent_indent(&indent));
            lines.into_iter().map(String::from).collect::<Vec<_>>()
        };
        text.lines().flat_map(wrapped).collect()
    }
}

/// How wide each column is.
fn widths(lines: &[Vec<Cell>]) -> Vec<usize> {
    let columns = lines.first().map_or(0, Vec::len);
    let widest = |column: usize| lines.iter().map(|line| line[column].width()).max();
    (0..columns).filter_map(widest).collect()
}

/// How wide the `• ` or `12. ` is that a line begins with.
fn point(line: &str) -> usize {
    let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
    match (number.len() < line.len(), number.strip_prefix(". "), line.strip_prefix("• ")) {
        (true, Some(text), _) => line.len() - text.len(),
        (_, _, Some(_)) => display_width("• "),
        _ => 0,
    }
}

/// What stands in a table.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    style: Style,
    holds: bool,
}

impl Cell {
    /// Something that is neither right nor wrong.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: Style::new(), holds: true }
    }

    /// Something that is as it should be, or not.
    pub(crate) fn of(finding: &Finding) -> Self {
        Self::all([finding])
    }

    /// Things that are as they should be, or not; nothing, if there are none.
    pub(crate) fn all<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Self {
        let findings: Vec<_> = findings.into_iter().collect();
        if findings.is_empty() {
            return Self::plain("");
        }
        let holds = findings.iter().all(|finding| finding.holds);
        let (mark, style) = if holds { ('✓', GOOD) } else { ('✗', BAD) };
        let texts: Vec<_> = findings.iter().map(|finding| finding.text.as_str()).collect();
        Self { text: format!("{mark} {}", texts.join(", ")), style, holds }
    }

    pub(crate) fn holds(&self) -> bool {
        self.holds
    }

    pub(crate) fn styled(&self) -> String {
        let style = self.style;
        format!("{style}{}{style:#}", self.text)
    }

    fn width(&self) -> usize {
        display_width(&self.text)
    }
}
