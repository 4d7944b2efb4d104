//! For messages that could not be read as a command.

use super::{
    help::Help,
    message::{Message, line},
    value::quote,
};
use crate::bot::{
    commands::Command,
    grammar::{ArgumentProblem, Mistake},
};

/// What was not understood, and what to type instead.
pub(crate) fn mistake(mistake: &Mistake<'_, Command>) -> Message {
    match mistake {
        Mistake::Nothing => Message::new("Say `help` to see what I understand."),
        Mistake::UnknownCommand { word, nearest: Some(command) } => Message::new(line!(
            "I do not know {word}. Did you mean `{usage}`?",
            word = quote(word),
            usage = likely(&command.help)
        ))
        .and("`help` lists what I understand."),
        Mistake::UnknownCommand { word, nearest: None } => Message::new(line!(
            "I do not know {word}. Say `help` to see what I understand.",
            word = quote(word)
        )),
        Mistake::Arguments { command, problem } => arguments(command, problem),
    }
}

fn arguments(command: &Command, problem: &ArgumentProblem) -> Message {
    let what = match problem {
        ArgumentProblem::Missing => {
            line!("Something is missing after `{name}`.", name = command.name)
        }
        ArgumentProblem::TooMuch => {
            line!("I am not sure what you mean, so I did nothing: there is more than I expect.")
        }
        ArgumentProblem::NotAUser(text) => line!(
            "{text} is not the full name of a Matrix account. It looks like `@name:server`.",
            text = quote(text)
        ),
        ArgumentProblem::NotARoom { word: text, nearest: Some(nearest) } => line!(
            "{text} is not a room that I can look up. Did you mean `{command} {nearest}`?",
            text = quote(text),
            command = command.name,
            nearest = *nearest
        ),
        ArgumentProblem::NotARoom { word: text, nearest: None } => line!(
            "{text} is not a room that I can look up. Use its number in `rooms`, or its ID, alias \
             or link.",
            text = quote(text)
        ),
        ArgumentProblem::NotAHolding(text) => line!(
            "I do not know {text}. Name rooms, or {names}, but not both at once.",
            text = quote(text),
            names = super::holdings::names()
        ),
        ArgumentProblem::NotASide(text) => {
            line!("{text} is neither `old` nor `new`.", text = quote(text))
        }
        ArgumentProblem::NotYesOrNo(text) => {
            line!("{text} is neither `yes` nor `no`.", text = quote(text))
        }
        ArgumentProblem::NotARoute { word, nearest: Some(nearest) } => line!(
            "{word} is not a route. Did you mean `rooms {nearest}`?",
            word = quote(word),
            nearest = *nearest
        ),
        ArgumentProblem::NotARoute { word, nearest: None } => line!(
            "{word} is not a route. The routes are `there`, `join`, `invite`, `moderator`, \
             `unreachable` and `skipped`.",
            word = quote(word)
        ),
        ArgumentProblem::NotAMigration(word) => {
            line!("{word} is neither the number of a migration nor an account.", word = quote(word))
        }
        ArgumentProblem::NotALogin => line!(
            "After `login` I need `password` and the password, or `token` and the token, or `service`, \
             or `none`."
        ),
        ArgumentProblem::NoSecret => {
            line!("The password or token is missing: it goes on the same line.")
        }
    };
    Message::new(what)
        .and(line!("For example: `{example}`", example = command.help.example))
        .and(line!("`help {command}` tells more.", command = command.name))
}

/// The command as it is most likely meant: without what may be left out.
fn likely(help: &Help) -> &'static str {
    let first = help.usage.split(", ").next().unwrap_or(help.usage);
    first.split(" [").next().unwrap_or(first)
}
