//! The commands: each is a value that says how it is called, who may say it, what it does, and
//! does it. Help, the README's table and the tests are made from these values.

mod accept;
mod admin_announce;
mod admin_cancel;
mod admin_migrations;
mod admin_pause;
mod admin_resume;
mod admin_show;
pub(super) mod ask;
mod block;
mod cancel;
mod choices;
mod decline;
pub(super) mod fast;
mod forget;
pub(super) mod go;
mod help;
mod include;
mod login;
mod pause;
mod plan;
mod prefer;
mod report;
mod resume;
mod retry;
mod rooms;
mod skip;
mod start;
mod status;
mod stop;
mod unblock;

use futures_util::future::BoxFuture;

use matrix_sdk::ruma::{OwnedUserId, UserId};

use super::{
    answer::Answer,
    grammar::{Argument, Arguments, Ask, Choices, Named},
    shared::Shared,
    wording::{self, Help},
};
use crate::{
    access::Login,
    migration::{Migration, Refusal, RouteKind, Said, Side, Which},
};

/// All commands, in the order in which help lists them; those of admins come last.
pub(super) static COMMANDS: &[Command] = &[
    help::COMMAND,
    start::COMMAND,
    accept::COMMAND,
    decline::COMMAND,
    login::COMMAND,
    plan::COMMAND,
    rooms::COMMAND,
    skip::COMMAND,
    include::COMMAND,
    prefer::COMMAND,
    fast::COMMAND,
    go::COMMAND,
    ask::COMMAND,
    status::COMMAND,
    pause::COMMAND,
    resume::COMMAND,
    cancel::COMMAND,
    retry::COMMAND,
    report::COMMAND,
    forget::COMMAND,
    stop::COMMAND,
    block::COMMAND,
    unblock::COMMAND,
    admin_migrations::COMMAND,
    admin_show::COMMAND,
    admin_pause::COMMAND,
    admin_resume::COMMAND,
    admin_cancel::COMMAND,
    admin_announce::COMMAND,
];

/// The commands that `user` knows of: for everybody but an admin, those of admins do not exist.
pub(super) fn known_to(user: &UserId, bot: &Shared) -> &'static [Command] {
    if bot.config.access.admins.iter().any(|admin| admin == user) {
        return COMMANDS;
    }
    let first = COMMANDS.iter().position(|command| command.from == From::Admin);
    COMMANDS.split_at(first.unwrap_or(COMMANDS.len())).0
}

/// One command.
pub(super) struct Command {
    /// The command word.
    pub name: &'static str,
    /// Whose command it is.
    pub from: From,
    /// What is said about it.
    pub help: Help,
    /// Does it, with what follows the command word.
    pub(super) run: Run,
    /// Tells once more what was done, for a command that changes something and answers by itself:
    /// after a crash the change may be there without an answer.
    pub(super) tell_again: Option<Does>,
}

/// What a command does.
pub(super) type Does = for<'a> fn(Context<'a>) -> Doing<'a>;
/// What a command does with what follows it.
pub(super) type DoesWith<A> = for<'a> fn(Context<'a>, A) -> Doing<'a>;
/// A command being done.
pub(super) type Doing<'a> = BoxFuture<'a, Result<Answer, Refusal>>;

/// What a command does, by what it takes.
pub(super) enum Run {
    Nothing(Does),
    Command(DoesWith<Option<String>>),
    User(DoesWith<OwnedUserId>),
    Choices(DoesWith<Choices>),
    Side(DoesWith<Side>),
    YesOrNo(DoesWith<Option<bool>>),
    Route(DoesWith<Option<RouteKind>>),
    Login(DoesWith<Login>),
    Ask(DoesWith<Ask>),
    Migration(DoesWith<Which>),
    Text(DoesWith<String>),
}

impl Command {
    /// Does it. Nothing when the argument is not of the command's shape.
    pub(super) fn run<'a>(&self, context: Context<'a>, argument: Argument) -> Option<Doing<'a>> {
        Some(match (&self.run, argument) {
            (Run::Nothing(run), Argument::None) => run(context),
            (Run::Command(run), Argument::None) => run(context, None),
            (Run::Command(run), Argument::Command(name)) => run(context, Some(name)),
            (Run::User(run), Argument::User(user)) => run(context, user),
            (Run::Choices(run), Argument::Choices(choices)) => run(context, choices),
            (Run::Side(run), Argument::Side(side)) => run(context, side),
            (Run::YesOrNo(run), Argument::None) => run(context, None),
            (Run::YesOrNo(run), Argument::YesOrNo(word)) => run(context, Some(word)),
            (Run::Route(run), Argument::None) => run(context, None),
            (Run::Route(run), Argument::Route(route)) => run(context, Some(route)),
            (Run::Login(run), Argument::Login(login)) => run(context, login),
            (Run::Ask(run), Argument::Ask(ask)) => run(context, ask),
            (Run::Migration(run), Argument::Migration(which)) => run(context, which),
            (Run::Text(run), Argument::Text(text)) => run(context, text),
            _ => return None,
        })
    }
}

/// Whose command it is. Which account is old and which new is for the migration to know, and so to
/// refuse; here it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// Of anybody.
    Anyone,
    /// Of the old account.
    Old,
    /// Of the new account.
    New,
    /// Of both.
    Either,
    /// Of both, each for itself.
    EitherForItself,
    /// Of a moderator who was asked for something.
    Moderator,
    /// Of those whom the configuration names as admins.
    Admin,
}

/// What a command works with: who said it, and what the bot has.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) bot: &'a Shared,
    pub(super) said: &'a Said,
}

impl Named for Command {
    fn name(&self) -> &'static str {
        self.name
    }

    fn arguments(&self) -> Arguments {
        match self.run {
            Run::Nothing(_) => Arguments::None,
            Run::Command(_) => Arguments::Command,
            Run::User(_) => Arguments::User,
            Run::Choices(_) => Arguments::Choices,
            Run::Side(_) => Arguments::Side,
            Run::YesOrNo(_) => Arguments::YesOrNo,
            Run::Route(_) => Arguments::Route,
            Run::Login(_) => Arguments::Login,
            Run::Ask(_) => Arguments::Ask,
            Run::Migration(_) => Arguments::Migration,
            Run::Text(_) => Arguments::Text,
        }
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Command").field(&self.name).finish()
    }
}

impl From {
    fn words(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Old => "old",
            Self::New => "new",
            Self::Either => "either",
            Self::EitherForItself => "either, for itself",
            Self::Moderator => "a moderator",
            Self::Admin => "admin",
        }
    }
}

/// The table of commands in Markdown, for the README.
pub fn command_table() -> String {
    let rows =
        COMMANDS.iter().map(|command| wording::command_row(&command.help, command.from.words()));
    std::iter::once("| command | from | does |\n| --- | --- | --- |\n".to_owned())
        .chain(rows)
        .collect()
}

/// Does what an admin says to a migration, where that is possible now.
async fn to_migration(
    context: Context<'_>,
    which: &Which,
    act: impl AsyncFnOnce(&Migration) -> Result<(), Refusal>,
) -> Result<Answer, Refusal> {
    let migration = context.bot.migrations.named(which)?;
    match act(&migration).await {
        Ok(()) => Ok(wording::admin_done(&context.bot.migrations.get(migration.id)?).into()),
        Err(Refusal::WrongPhase { .. }) => Ok(wording::admin_not_now(&migration).into()),
        Err(refusal) => Err(refusal),
    }
}
