//! What was said already, so that nothing is shown twice: the bot tells both accounts most things.

use std::collections::BTreeSet;

use crate::screen::Lane;

/// What is shorter than this many letters is not worth leaving out.
const SHORT: usize = 80;

#[derive(Debug, Default)]
pub(crate) struct Said {
    old: BTreeSet<String>,
    new: BTreeSet<String>,
    change: String,
}

impl Said {
    /// A message without the paragraphs that were shown in the other chat.
    pub(crate) fn shortened(&mut self, lane: Lane, body: &str) -> String {
        let (here, there, other) = match lane {
            Lane::Old => (&mut self.old, &self.new, Lane::New),
            Lane::New => (&mut self.new, &self.old, Lane::Old),
        };
        let paragraphs: Vec<_> = body.split("\n\n").collect();
        let known = |a: &&str, b: &&str| there.contains(*a) == there.contains(*b);
        let shown = paragraphs.chunk_by(known).map(|run| {
            let run_is_known = run.iter().all(|paragraph| there.contains(*paragraph));
            let text = run.join("\n\n");
            let left_out = run_is_known && text.chars().count() > SHORT;
            if left_out { format!("(the same as to the {} account)", other.name()) } else { text }
        });
        let shown = shown.collect::<Vec<_>>().join("\n\n");
        here.extend(paragraphs.into_iter().map(str::to_owned));
        shown
    }

    /// The lines that an edit changed, unless the last edit that was shown said the same.
    pub(crate) fn change(&mut self, before: &str, after: &str) -> Option<String> {
        let changed = after.lines().filter(|line| !before.lines().any(|known| known == *line));
        let change = changed.collect::<Vec<_>>().join(" ");
        (change != self.change).then(|| {
            self.change.clone_from(&change);
            change
        })
    }
}
