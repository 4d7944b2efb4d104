//! `help`

use super::{Command, Context, From, Run, known_to};
use crate::{
    bot::{
        answer::Answer,
        grammar::{self, Words},
        wording::{self, help_texts},
    },
    migration::Refusal,
};

pub(super) const COMMAND: Command = Command {
    name: "help",
    from: From::Anyone,
    help: help_texts::HELP,
    run: Run::Command(|context, command| Box::pin(run(context, command))),
    tell_again: None,
};

async fn run(context: Context<'_>, command: Option<String>) -> Result<Answer, Refusal> {
    let known = known_to(&context.said.by, context.bot);
    let Some(name) = command else {
        return Ok(wording::help_list(known.iter().map(|command| &command.help)).into());
    };
    Ok(match known.iter().find(|command| command.name == name) {
        Some(command) => wording::help_for(&command.help).into(),
        None => unknown(context, &name),
    })
}

/// The same answer that the word gets where a command is expected.
fn unknown(context: Context<'_>, name: &str) -> Answer {
    let words = Words::new(name, None, context.bot.prefix());
    match grammar::parse(&words, known_to(&context.said.by, context.bot)) {
        Ok((command, _)) => wording::help_for(&command.help).into(),
        Err(mistake) => wording::mistake(&mistake).into(),
    }
}
