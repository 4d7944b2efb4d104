//! `skip`

use super::{Command, Context, From, Run, named_rooms};
use crate::{
    bot::{answer::Answer, grammar::RoomRef, wording::help_texts},
    migration::Refusal,
};

pub(super) const COMMAND: Command = Command {
    name: "skip",
    from: From::Old,
    help: help_texts::SKIP,
    run: Run::Rooms(|context, rooms| Box::pin(run(context, rooms))),
    tell_again: Some(|context| Box::pin(async move { named_rooms::show_plan(context) })),
};

async fn run(context: Context<'_>, rooms: Vec<RoomRef>) -> Result<Answer, Refusal> {
    let rooms = match named_rooms::resolve(context, &rooms)? {
        Ok(rooms) => rooms,
        Err(answer) => return Ok(answer),
    };
    context.bot.migrations.skip(context.said, &rooms).await?;
    named_rooms::show_change(context, true, &rooms)
}
