//! `include`

use super::{
    Command, From, Run,
    choices::{self, Choice},
};
use crate::bot::wording::help_texts;

pub(super) const COMMAND: Command = Command {
    name: "include",
    from: From::Old,
    help: help_texts::INCLUDE,
    run: Run::Choices(|context, chosen| {
        Box::pin(choices::choose(context, Choice::Include, chosen))
    }),
    tell_again: Some(|context| Box::pin(async move { choices::show_plan(context) })),
};
