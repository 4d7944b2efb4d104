//! `login`

use super::{Command, Context, From, Run};
use crate::{
    access::Login,
    bot::{answer::Answer, wording::help_texts},
    migration::Refusal,
};

pub(super) const COMMAND: Command = Command {
    name: "login",
    from: From::EitherForItself,
    help: help_texts::LOGIN,
    run: Run::Login(|context, login| Box::pin(run(context, login))),
    tell_again: None,
};

/// That the message was encrypted, if it carried a secret, was checked before it came here.
async fn run(context: Context<'_>, login: Login) -> Result<Answer, Refusal> {
    context.bot.migrations.login(context.said, login).await?;
    Ok(Answer::by_notice())
}
