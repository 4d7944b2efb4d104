//! Why a message could not be read.

use super::arguments::Problem;

/// Why a message could not be read as a command.
#[derive(Debug, PartialEq)]
pub(crate) enum Mistake<'c, C> {
    /// There are no words in it; or only the prefix.
    Nothing,
    /// It does not begin with a command.
    UnknownCommand {
        /// What it begins with.
        word: String,
        /// The command that was perhaps meant.
        nearest: Option<&'c C>,
    },
    /// What follows the command cannot be read.
    Arguments {
        /// The command.
        command: &'c C,
        /// What is wrong.
        problem: Problem,
    },
}
