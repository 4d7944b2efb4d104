//! `admin announce`

use matrix_sdk::ruma::UserId;

use super::{Command, Context, From, Run};
use crate::{
    bot::{
        answer::Answer,
        wording::{self, help_texts},
    },
    migration::Refusal,
};

pub(super) const COMMAND: Command = Command {
    name: "admin announce",
    from: From::Admin,
    help: help_texts::ADMIN_ANNOUNCE,
    run: Run::Text(|context, text| Box::pin(run(context, text))),
    tell_again: Some(|_| Box::pin(async { Ok(wording::admin_done_before().into()) })),
};

/// Local are the accounts of the bot's own server, and of those that it is a service of.
async fn run(context: Context<'_>, text: String) -> Result<Answer, Refusal> {
    let config = &context.bot.config;
    let is_local = |user: &UserId| {
        let server = user.server_name();
        server == config.bot.user_id.server_name() || config.appservices.on(server).is_some()
    };
    let told = context.bot.migrations.announce(context.said, &text, is_local).await?;
    Ok(wording::admin_announced(told).into())
}
