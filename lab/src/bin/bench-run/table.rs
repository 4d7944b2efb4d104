//! What was measured, and whether it is good enough.

use std::fmt;

/// A table that grows line by line.
#[derive(Debug, Default)]
pub(crate) struct Table {
    lines: Vec<String>,
    missed: usize,
}

impl Table {
    /// A figure that is only shown.
    pub(crate) fn figure(&mut self, name: &str, figure: impl fmt::Display) {
        self.lines.push(format!("{name:<48}{figure:>12}"));
    }

    /// A figure with a goal: at most so much.
    pub(crate) fn goal(&mut self, name: &str, figure: f64, at_most: f64) {
        let met = figure <= at_most;
        self.missed += usize::from(!met);
        let met = if met { "met" } else { "MISSED" };
        self.lines.push(format!("{name:<48}{figure:>12.2}   goal {at_most:>5.2}  {met}"));
    }

    /// A line of words.
    pub(crate) fn words(&mut self, words: impl Into<String>) {
        self.lines.push(words.into());
    }

    /// Whether no goal was missed.
    pub(crate) fn all_met(&self) -> bool {
        self.missed == 0
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn a_missed_goal_is_shown_and_counts() {
        let mut table = Table::default();
        table.goal("time", 1.25, 1.25);
        assert!(table.all_met());
        table.goal("requests", 3.6, 3.5);
        assert!(!table.all_met());
        assert!(table.to_string().contains("MISSED"));
    }
}
