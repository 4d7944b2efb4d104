//! What a message asks for, found out without doing anything about it.
//!
//! A message becomes plain [`Words`]; the first word picks a command, and the command's
//! [`Arguments`] say how the rest is read.

mod arguments;
mod holdings;
mod html;
mod identifiers;
mod message;
mod mistake;
mod routes;
#[cfg(test)]
mod tests;

pub(super) use self::{
    arguments::{Argument, Arguments, Ask, Choices, Problem as ArgumentProblem, RoomRef},
    holdings::{HOLDINGS, holding_name},
    message::Words,
    mistake::Mistake,
    routes::{ROUTES, route_name},
};

/// Something that can be called by name.
pub(super) trait Named {
    /// The command word, in lower case.
    fn name(&self) -> &'static str;
    /// How what follows it is read.
    fn arguments(&self) -> Arguments;
}

/// Finds the command that `words` begin with, and reads its arguments.
///
/// # Errors
///
/// A [`Mistake`] says what cannot be read.
pub(super) fn parse<'c, C: Named>(
    words: &Words,
    commands: &'c [C],
) -> Result<(&'c C, Argument), Mistake<'c, C>> {
    let (word, rest) = words.split_first();
    if word.is_empty() {
        return Err(Mistake::Nothing);
    }
    let wanted = word.to_lowercase();
    let Some(command) = commands.iter().find(|command| command.name() == wanted) else {
        let nearest = nearest(&wanted, commands.iter().map(|command| (command.name(), command)));
        return Err(Mistake::UnknownCommand { word: word.to_owned(), nearest });
    };
    match arguments::read(command.arguments(), rest) {
        Ok(argument) => Ok((command, argument)),
        Err(problem) => Err(Mistake::Arguments { command, problem }),
    }
}

/// The value whose name is most like `word`, if one is like it at all.
fn nearest<T>(word: &str, named: impl Iterator<Item = (&'static str, T)>) -> Option<T> {
    // No command is that long, and comparing takes time in proportion to the length.
    if word.chars().count() > 20 {
        return None;
    }
    named
        .map(|(name, value)| (strsim::damerau_levenshtein(word, name), name.len(), value))
        .filter(|(distance, length, _)| *distance <= length.div_ceil(3))
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., value)| value)
}
