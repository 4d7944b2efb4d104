//! `skip`

use super::{
    Command, From, Run,
    choices::{self, Choice},
};
use crate::bot::wording::help_texts;

pub(super) const COMMAND: Command = Command {
    name: "skip",
    from: From::Old,
    help: help_texts::SKIP,
    run: Run::Choices(|context, chosen| Box::pin(choices::choose(context, Choice::Skip, chosen))),
    tell_again: Some(|context| Box::pin(async move { choices::show_plan(context) })),
};
