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
mod secrets;
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
    /// The command word, or two, in lower case.
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
    let (second, after) = split_word(rest);
    let two_words = format!("{wanted} {}", second.to_lowercase());
    let named = |name: &str| commands.iter().find(|command| command.name() == name);
    let found = named(&two_words).map(|command| (command, after));
    let Some((command, rest)) = found.or_else(|| named(&wanted).map(|command| (command, rest)))
    else {
        let begins_two = commands.iter().any(|command| {
            command.name().split_once(' ').is_some_and(|(first, _)| first == wanted)
        });
        let unknown = if begins_two { &two_words } else { &wanted };
        let nearest = nearest(unknown, commands.iter().map(|command| (command.name(), command)));
        let word = if begins_two { format!("{word} {second}") } else { word.to_owned() };
        return Err(Mistake::UnknownCommand { word, nearest });
    };
    match arguments::read(command.arguments(), rest) {
        Ok(argument) => Ok((command, argument)),
        Err(problem) => Err(Mistake::Arguments { command, problem }),
    }
}

/// The first word, and what follows it.
fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace).unwrap_or((text, ""))
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
