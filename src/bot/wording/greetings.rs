//! What the bot says about itself and about a chat.

use std::time::Duration;

use matrix_sdk::ruma::{OwnedUserId, UserId};

use crate::bot::company::Overheard;

use super::{
    message::{Line, Message, line},
    value::{about, quote},
};

/// In a direct message that somebody began with the bot.
pub(crate) fn greeting(display_name: &str) -> Message {
    Message::new(line!(
        "Hello. I am {name}, a bot that moves a person from one Matrix account to another: their \
         rooms, direct chats, room tags and power levels.",
        name = display_name.to_owned()
    ))
    .and(
        "Write to me from the account that you want to **leave**, and say `start @new:server`, \
         with the name of your new account. I change nothing before you have seen the plan and \
         said `go`.",
    )
    .and("`help` lists everything that I understand.")
}

fn not_here(me: &UserId) -> Message {
    Message::new(line!(
        "I move people from one Matrix account to another, and I talk about that only in direct \
         messages. To talk to me, start a direct chat with {me}.",
        me = Line::link(&me.matrix_to_uri().to_string(), me.as_str())
    ))
}

/// In a room with others, before leaving it.
pub(crate) fn hint(me: &UserId) -> Message {
    not_here(me).and("I am leaving this room now.")
}

/// In a room with others in which the bot was given the power to invite.
pub(crate) fn staying(me: &UserId) -> Message {
    not_here(me).and(
        "I stay here in silence, since I was given the power to invite: I invite the new account of \
         somebody who moves when one of you who may invite reacts to their request with ✅.",
    )
}

/// In a direct message that somebody else joined.
pub(crate) fn crowded(me: &UserId) -> Message {
    Message::new(
        "There are more than the two of us in this room now. What I do concerns one person only, \
         so I stay silent here from now on, and follow no commands in this room.",
    )
    .and(line!(
        "Nothing is lost: start a new direct chat with {me}, and go on there.",
        me = Line::link(&me.matrix_to_uri().to_string(), me.as_str())
    ))
}

/// In what was a direct message, and is none any more.
pub(crate) fn overheard(why: Overheard, me: &UserId) -> Message {
    if why == Overheard::UnreadableName {
        return Message::new(why_overheard(why));
    }
    Message::new(why_overheard(why))
        .and(
            "What I do concerns one person only, so I stay silent here from now on, and follow no \
             commands in this room.",
        )
        .and(line!(
            "Nothing is lost: start a new direct chat with {me}, and go on there.",
            me = Line::link(&me.matrix_to_uri().to_string(), me.as_str())
        ))
}

/// In a room that is no direct message, before leaving it.
pub(crate) fn overheard_and_left(why: Overheard, me: &UserId) -> Message {
    if why == Overheard::UnreadableName {
        return Message::new(why_overheard(why)).and("I am leaving this room now.");
    }
    Message::new(why_overheard(why)).and(line!(
        "What I do concerns one person only, so I am leaving this room now. To talk to me, start a new \
         direct chat with {me}.",
        me = Line::link(&me.matrix_to_uri().to_string(), me.as_str())
    ))
}

fn why_overheard(why: Overheard) -> &'static str {
    match why {
        Overheard::Invited => {
            "Somebody else is invited to this room, and could read here what we write."
        }
        Overheard::Open => {
            "People may join this room without an invitation, and could read here what we write."
        }
        Overheard::WorldReadable => {
            "Anybody may read what is written in this room, without being in it."
        }
        Overheard::NoLongerEncrypted => {
            "This chat was encrypted, and its server says that it is not."
        }
        Overheard::UnreadableName => {
            "The name of your account has characters in it that could be read as something else, as \
             blanks or letters that look like others. I do not work with such accounts."
        }
    }
}

/// For words without encryption in an encrypted chat.
pub(crate) fn plain_in_encrypted() -> Message {
    Message::new(
        "A message came here **without encryption**, though this chat is encrypted. A server on the \
         way could have made it up, so I did nothing about it.",
    )
    .and(
        "If it was yours, send it again, encrypted. If your app cannot do that, start a new direct \
         chat with me without encryption; a password or token is not taken there.",
    )
}

/// For a message that is no command, and may have been a secret.
pub(crate) fn perhaps_secret(redacted: bool) -> Message {
    Message::new(line!(
        "If that was your password or token: {deleted} I did **not** use it.",
        deleted = secret_unused(redacted)
    ))
    .and("To log in, send it in one new message: `login password SECRET` or `login token SECRET`.")
    .and("If it was neither, I do not know what you mean. Say `help` to see what I understand.")
}

/// For a message that could not be decrypted.
pub(crate) fn unreadable() -> Message {
    Message::new(
        "I cannot read one of your messages: the key to it did not arrive. I did nothing about it.",
    )
    .and("Please send it again. If that does not help, start a new direct chat with me.")
}

/// While something takes longer than people like to wait.
pub(crate) fn looking() -> Message {
    Message::new("Looking… This takes a moment.")
}

/// When the bot itself is broken.
pub(crate) fn broken() -> Message {
    Message::new(
        "Something went wrong on my side, and I could not do that. Nothing of your migration is \
         lost.",
    )
    .and("Please try again in a few minutes. If it stays like this, tell the admin of this bot.")
}

/// For somebody whom the configuration does not let begin a migration.
pub(crate) fn not_allowed(who: &UserId) -> Message {
    Message::new(line!(
        "I may not begin a migration for {who}: the admin of this bot limits who may. Nothing was \
         changed.",
        who = who
    ))
    .and("Please ask the admin of this bot, or use another Tern. `help` lists what I understand.")
}

/// The name of a room made to ask somebody.
pub(crate) fn asking_room_name(display_name: &str) -> String {
    format!("{display_name}: moving accounts")
}

/// The topic of a room made to ask somebody, and the reason of the invitation to it.
pub(crate) fn asking_reason(old: &UserId) -> String {
    format!(
        "{old} wants to move to this account. Accept the chat to see the question. If you do not \
         know it, decline: then it cannot have you asked again. Say block there, and nobody can."
    )
}

/// To a person who said `block`.
pub(crate) fn blocked() -> Message {
    Message::new(
        "Done: I **ask this account nothing more**, whoever wants me to, also after `forget`. \
         Whoever asks is not told why.",
    )
    .and("To take that back, say `unblock`.")
}

/// To a person who said `unblock`.
pub(crate) fn unblocked() -> Message {
    Message::new(
        "Done: this account **may be asked again**, also by those whom it said no to. Nothing was \
         asked by that.",
    )
    .and("To move to this account, say `start` and its name from your old one.")
}

/// The topic of a room made for somebody who is in a migration already.
pub(crate) fn talking_reason() -> String {
    "News about the migration of your Matrix account.".to_owned()
}

/// Why the new account could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unasked {
    /// There is no such account.
    NoSuchAccount,
    /// Its server cannot be reached.
    ServerUnreachable,
    /// The invitation was refused by its server, in these words.
    Refused(String),
    /// The person refused the invitation.
    Rejected,
    /// The person does not want to be asked.
    Unwanted,
}

/// To the old account: why the new one could not be asked, and how it can speak up itself.
pub(crate) fn unasked(why: &Unasked, old: &OwnedUserId, new: &OwnedUserId, me: &UserId) -> Message {
    let server = new.server_name().as_str().to_owned();
    let (what, then) = match why {
        Unasked::NoSuchAccount => (
            line!(
                "I could not ask {new}: its server says that there is **no such account**.",
                new = new
            ),
            line!("Is the name right? If not, say `cancel`, and then `start` with the right name."),
        ),
        Unasked::ServerUnreachable => (
            line!(
                "I could not ask {new} yet: my server **cannot reach {server}**. It may be down for \
                 the moment, or the name may be wrong. I keep trying.",
                new = new,
                server = server
            ),
            line!("If the name is wrong, say `cancel`, and then `start` with the right name."),
        ),
        Unasked::Refused(reason) => (
            line!(
                "I could not ask {new}: the invitation was refused, with {why}.",
                new = new,
                why = quote(reason)
            ),
            line!("It may not accept invitations from strangers."),
        ),
        Unasked::Rejected => (
            line!("{new} **refused my invitation** to a chat, so I could not ask it.", new = new),
            line!("If that was a mistake, nothing is lost."),
        ),
        Unasked::Unwanted => (
            line!("I do not ask {new}: it **does not want to be asked**.", new = new),
            line!("If that was a mistake, nothing is lost."),
        ),
    };
    Message::new(what).and(then).and(line!(
        "The new account can also come to me: from {new}, start a direct chat with {me}, and say \
         `accept {old}` there.",
        new = new,
        me = Line::link(&me.matrix_to_uri().to_string(), me.as_str()),
        old = old
    ))
}

/// To a person for whom `login` in a chat without encryption was refused.
pub(crate) fn secret_in_the_clear(redacted: bool, me: &UserId) -> Message {
    let deleted = if redacted {
        "I deleted your message."
    } else {
        "**Please delete your message**: I am not allowed to."
    };
    Message::new(
        "This chat is not encrypted, so I did **not** use what you sent: servers on the way could \
         read it.",
    )
    .and(line!(
        "{deleted} Treat what was in it as known to others: change the password, or log the token \
         out.",
        deleted = Line::from(deleted)
    ))
    .and(line!(
        "Then start an encrypted direct chat with {me}, and say `login` there.",
        me = Line::link(&me.matrix_to_uri().to_string(), me.as_str())
    ))
}

/// What becomes of a message with a password or token that was not used.
pub(crate) fn secret_unused(redacted: bool) -> Line {
    Line::from(if redacted {
        "I deleted your message."
    } else {
        "**Please delete your message**: I am not allowed to."
    })
}

/// How long the request for consent still stands, as `about 24 hours`.
pub(super) fn lapses_in(left: Duration) -> super::value::Value {
    about(left)
}

/// When everything that was stored about a migration is gone.
pub(crate) fn forgotten() -> Message {
    Message::new(
        "The other account said `forget`: the migration is over, my sessions are logged out, and \
         all that I stored about it is deleted. What was done in rooms stays.",
    )
    .and("To begin another migration, say `start @new:server` from the account to leave.")
}

/// To the person who said `forget`, with the accounts whose session could not be logged out.
pub(crate) fn forgot(not_logged_out: &[OwnedUserId]) -> Message {
    let still_there = not_logged_out.iter().map(|user| line!("{user}", user = user));
    let message = Message::new(
        "Done: all that I stored about your migration is deleted. What was done in rooms stays.",
    );
    let message = if not_logged_out.is_empty() {
        message.and("My sessions are logged out.")
    } else {
        message
            .and("I could not log my session out of these accounts. Please remove the device called Tern in their settings:")
            .list(still_there)
    };
    message.and(
        "What we wrote in this chat is not mine to delete: leave the chat if you want it gone. To \
         begin another migration, say `start @new:server`.",
    )
}

/// For a number that is in no list.
pub(crate) fn no_such_number(listed: usize) -> Message {
    let why = if listed == 0 {
        line!("I have shown you no list of rooms yet, so I cannot tell which room that is.")
    } else {
        line!("The last list that I showed you has the numbers 1 to {last}.", last = listed)
    };
    Message::new(line!("{why} Nothing was changed.", why = why))
        .and("Say `rooms` to see the rooms with their numbers.")
}
