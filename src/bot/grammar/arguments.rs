//! What follows a command word.

use matrix_sdk::ruma::OwnedUserId;

use super::{
    ROUTES,
    holdings::{holdings, nearest_holding},
    identifiers, nearest,
};
use crate::{
    access::Login,
    migration::{HoldingKind, RoomAddress, RouteKind, Side, Which},
    secret::Secret,
};

/// What a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arguments {
    /// Nothing.
    None,
    /// Perhaps the name of a command.
    Command,
    /// A user.
    User,
    /// One room or more, or what else is copied.
    Choices,
    /// Perhaps a route.
    Route,
    /// `old` or `new`.
    Side,
    /// Perhaps `yes` or `no`.
    YesOrNo,
    /// A migration, by its number or one of its accounts.
    Migration,
    /// Anything that is said, as it is.
    Text,
    /// `password SECRET`, `token SECRET`, `service` or `none`.
    Login,
    /// Perhaps `yes`, rooms, or `text` and words.
    Ask,
}

/// What was read, in the shape that [`Arguments`] of the command ask for.
#[derive(Debug)]
pub(crate) enum Argument {
    /// Nothing.
    None,
    /// A word that should be the name of a command.
    Command(String),
    /// A user.
    User(OwnedUserId),
    /// Parts of a plan.
    Choices(Choices),
    /// A route.
    Route(RouteKind),
    /// One of the two accounts.
    Side(Side),
    /// Whether it was yes.
    YesOrNo(bool),
    /// A migration.
    Migration(Which),
    /// What is said.
    Text(String),
    /// How access is given.
    Login(Login),
    /// What to ask moderators.
    Ask(Ask),
}

/// What a person wants to have asked of moderators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// To be shown all.
    Show,
    /// What was shown, to be sent.
    Yes,
    /// To be shown what concerns these rooms.
    Rooms(Vec<RoomRef>),
    /// Other words to begin with; the bot's own again without any.
    Text(Option<String>),
}

/// Parts of a plan as a person names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choices {
    /// Rooms, in the order given.
    Rooms(Vec<RoomRef>),
    /// What is copied besides rooms.
    Holdings(Vec<HoldingKind>),
}

/// A room as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RoomRef {
    /// By ID or alias.
    Address(RoomAddress),
    /// By their numbers in the last list shown: from the first to the second, both included.
    Numbers(u32, u32),
}

/// What is wrong with what follows a command word.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// Something is missing.
    Missing,
    /// There is more than the command takes.
    TooMuch,
    /// This is no user.
    NotAUser(String),
    /// This is no room.
    NotARoom {
        /// What was written.
        word: String,
        /// What was perhaps meant, that is no room.
        nearest: Option<&'static str>,
    },
    /// This is nothing that is copied.
    NotAHolding(String),
    /// This is no migration.
    NotAMigration(String),
    /// This is neither `old` nor `new`.
    NotASide(String),
    /// This is neither `yes` nor `no`.
    NotYesOrNo(String),
    /// This is no route.
    NotARoute {
        /// What was written.
        word: String,
        /// What was perhaps meant.
        nearest: Option<&'static str>,
    },
    /// `login` is followed by neither `password` nor `token` nor `service` nor `none`.
    NotALogin,
    /// `login password` or `login token` without one.
    NoSecret,
}

/// Reads `rest` as what `arguments` asks for.
pub(super) fn read(arguments: Arguments, rest: &str) -> Result<Argument, Problem> {
    let mut words = rest.split_whitespace();
    match arguments {
        Arguments::None => nothing_more(words, Argument::None),
        Arguments::Command => match words.next() {
            None => Ok(Argument::None),
            // The name of a command is two words at most.
            Some(word) => {
                let name = [Some(word), words.next()].into_iter().flatten().collect::<Vec<_>>();
                nothing_more(words, Argument::Command(name.join(" ").to_lowercase()))
            }
        },
        Arguments::User => {
            let word = words.next().ok_or(Problem::Missing)?;
            let user = identifiers::user(word).ok_or_else(|| Problem::NotAUser(word.to_owned()))?;
            nothing_more(words, Argument::User(user))
        }
        Arguments::Choices => match holdings(rest) {
            Some(holdings) => Ok(Argument::Choices(Choices::Holdings(holdings?))),
            None => Ok(Argument::Choices(Choices::Rooms(rooms(rest)?))),
        },
        Arguments::Side => {
            let word = words.next().ok_or(Problem::Missing)?;
            nothing_more(words, Argument::Side(side(word)?))
        }
        Arguments::YesOrNo => match words.next() {
            None => Ok(Argument::None),
            Some(word) => nothing_more(words, Argument::YesOrNo(yes_or_no(word)?)),
        },
        Arguments::Route => match words.next() {
            None => Ok(Argument::None),
            Some(word) => nothing_more(words, Argument::Route(route(word)?)),
        },
        Arguments::Migration => {
            let word = words.next().ok_or(Problem::Missing)?;
            nothing_more(words, Argument::Migration(migration(word)?))
        }
        Arguments::Text => match rest.trim() {
            "" => Err(Problem::Missing),
            text => Ok(Argument::Text(text.to_owned())),
        },
        Arguments::Login => login(rest).map(Argument::Login),
        Arguments::Ask => ask(rest).map(Argument::Ask),
    }
}

fn nothing_more<'w>(
    mut words: impl Iterator<Item = &'w str>,
    argument: Argument,
) -> Result<Argument, Problem> {
    if words.next().is_some() { Err(Problem::TooMuch) } else { Ok(argument) }
}

fn route(word: &str) -> Result<RouteKind, Problem> {
    let wanted = word.to_lowercase();
    ROUTES.iter().find(|(name, _)| *name == wanted).map(|(_, route)| *route).ok_or_else(|| {
        let nearest = nearest(&wanted, ROUTES.iter().map(|(name, _)| (*name, *name)));
        Problem::NotARoute { word: word.to_owned(), nearest }
    })
}

fn ask(rest: &str) -> Result<Ask, Problem> {
    let rest = rest.trim();
    let (word, words) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    match (word.to_lowercase().as_str(), words.trim()) {
        ("", _) => Ok(Ask::Show),
        ("yes" | "✅", "") => Ok(Ask::Yes),
        ("text", "") => Ok(Ask::Text(None)),
        ("text", words) => Ok(Ask::Text(Some(words.to_owned()))),
        _ => rooms(rest).map(Ask::Rooms),
    }
}

fn migration(word: &str) -> Result<Which, Problem> {
    match word.trim_start_matches('#').parse() {
        Ok(number) => Ok(Which::Number(number)),
        Err(_) => identifiers::user(word)
            .map(Which::Of)
            .ok_or_else(|| Problem::NotAMigration(word.to_owned())),
    }
}

fn side(word: &str) -> Result<Side, Problem> {
    match word.to_lowercase().as_str() {
        "old" => Ok(Side::Old),
        "new" => Ok(Side::New),
        _ => Err(Problem::NotASide(word.to_owned())),
    }
}

fn yes_or_no(word: &str) -> Result<bool, Problem> {
    match word.to_lowercase().as_str() {
        "yes" | "✅" => Ok(true),
        "no" | "❌" => Ok(false),
        _ => Err(Problem::NotYesOrNo(word.to_owned())),
    }
}

/// Rooms, separated by spaces or commas.
fn rooms(rest: &str) -> Result<Vec<RoomRef>, Problem> {
    let rooms = rest
        .split_whitespace()
        .flat_map(|word| if is_numbers(word) { word.split(',').collect() } else { vec![word] })
        .filter(|word| !word.is_empty())
        .map(|word| {
            room(word).ok_or_else(|| Problem::NotARoom {
                word: word.to_owned(),
                nearest: nearest_holding(word),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    if rooms.is_empty() { Err(Problem::Missing) } else { Ok(rooms) }
}

fn is_numbers(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | '-' | '–'))
}

fn room(word: &str) -> Option<RoomRef> {
    let number = |text: &str| text.parse::<u32>().ok();
    let range = match word.split_once(['-', '–']) {
        Some((first, last)) => number(first).zip(number(last)),
        None => number(word.trim_matches(['.', '#'])).map(|only| (only, only)),
    };
    match range {
        Some((first, last)) => Some(RoomRef::Numbers(first.min(last), first.max(last))),
        None => identifiers::room(word).map(RoomRef::Address),
    }
}

/// The secret is everything up to the end of the line, spaces included: a password may have them.
fn login(rest: &str) -> Result<Login, Problem> {
    let rest = rest.trim_start();
    if rest.is_empty() {
        return Err(Problem::Missing);
    }
    let (kind, secret) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let secret = secret.trim_start().lines().next().unwrap_or_default();
    match (kind.to_lowercase().as_str(), secret) {
        ("none", "") => Ok(Login::None),
        ("service", "") => Ok(Login::Service),
        ("none" | "service", _) => Err(Problem::TooMuch),
        ("password" | "token", "") => Err(Problem::NoSecret),
        ("password", secret) => Ok(Login::Password(Secret::from(secret))),
        ("token", secret) => Ok(Login::Token(Secret::from(secret.trim_end()))),
        _ => Err(Problem::NotALogin),
    }
}
