//! Invite requests, as moderators read them.

use matrix_sdk::ruma::{OwnedUserId, UserId};

use super::{
    message::{Line, Message, line},
    value::{clean, count},
};
use crate::moderation::{InviteRequest, Reply, RequestState, Text, Way, Words};

/// How many characters of a person's own words are sent.
const LONGEST_WORDS: usize = 500;

/// How many characters of what a room is called are told to moderators in a direct message.
const LONGEST_ROOM_NAME: usize = 40;

/// What moderators read, who may never have heard of the bot.
#[derive(Debug)]
pub(crate) struct ModeratorWords {
    /// The bot.
    pub(crate) bot: OwnedUserId,
}

impl Words for ModeratorWords {
    fn request(&self, request: &InviteRequest) -> Text {
        self.asking(request).into()
    }

    fn knock_reason(&self, request: &InviteRequest) -> String {
        let own = request.words.as_ref().map(|words| format!("{} ", clean(words, LONGEST_WORDS)));
        line!(
            "{own}{old} is moving to this account. Both accounts have confirmed it to {bot}. Please \
             let it in.",
            own = Line::text(&own.unwrap_or_default()),
            old = &request.old,
            bot = &self.bot
        )
        .into_plain()
    }

    fn reminder(&self, request: &InviteRequest) -> Text {
        let place = match request.way {
            Some(Way::DirectMessage) => line!("in {room}", room = asked_room(request)),
            _ => Line::from("here"),
        };
        let new = &request.new;
        Message::new(line!(
            "This is the only reminder: the new account of {old}, {new}, still waits to be let in. \
             Please type `/invite {new}` {place}, or react with ✅. To refuse, react with ❌.",
            old = &request.old,
            new = new,
            place = place
        ))
        .into()
    }

    fn ended(&self, request: &InviteRequest) -> Text {
        let (old, new) = (&request.old, &request.new);
        let by = request.answered_by.as_ref();
        let said = match (&request.state, by) {
            (RequestState::Opened, _) => line!(
                "**Done.** The new account of {old}, {new}, has been let in. Thank you!",
                old = old,
                new = new
            ),
            (RequestState::Refused | RequestState::Stopped, Some(by)) => line!(
                "**Answered:** {by} said no to inviting {new}, the new account of {old}.",
                by = by,
                old = old,
                new = new
            ),
            (RequestState::Expired, _) => line!(
                "**Lapsed:** nobody answered the request to invite {new}, the new account of {old}.",
                old = old,
                new = new
            ),
            _ => line!(
                "**Taken back:** {old} no longer asks to have {new} invited.",
                old = old,
                new = new
            ),
        };
        Message::new(said).and("There is nothing more to do.").into()
    }

    fn thanks(&self, request: &InviteRequest, to: &UserId) -> Text {
        Message::new(line!(
            "{to}: thank you! The invitation itself has to come from you: please type \
             `/invite {new}` here.",
            to = to,
            new = &request.new
        ))
        .into()
    }
}

impl ModeratorWords {
    fn asking(&self, request: &InviteRequest) -> Message {
        let (old, new) = (&request.old, &request.new);
        let in_person = request.way == Some(Way::DirectMessage);
        // To somebody who never spoke with the bot nobody writes in words of their own by it.
        let own = request.words.as_ref().filter(|_| !in_person);
        let own = own.map(|words| Line::text(&clean(words, LONGEST_WORDS)));
        let (who, what) = if in_person {
            let who = line!(
                "**{old} is moving to a new Matrix account, {new},** and cannot invite it to \
                 {room}. You can. They confirmed the move to me from both accounts; I am a program \
                 that moves accounts.",
                old = old,
                new = new,
                room = asked_room(request)
            );
            let what = line!(
                "Please let it in: type `/invite {new}` in that room, or react to this message with \
                 ✅. To refuse, react with ❌. If nobody is to be asked about that room again, say \
                 `stop`.",
                new = new
            );
            (who, what)
        } else {
            let who = line!(
                "**I am moving from {old} to a new Matrix account, {new}.** I cannot invite it to \
                 this room myself. I confirmed this from both accounts to {bot}, a program that \
                 moves accounts and writes this for me.",
                old = old,
                new = new,
                bot = &self.bot
            );
            let what = line!(
                "{moderators}: please let it in. Type `/invite {new}` here, or react to this \
                 message with ✅. To refuse, react with ❌. If nobody is to be asked in this room \
                 again, reply `stop`.",
                moderators = moderators(request),
                new = new
            );
            (who, what)
        };
        let who = match own {
            Some(own) => line!("{own} {who}", who = who, own = own),
            None => who,
        };
        Message::new(who).and(what)
    }
}

/// A room, to a moderator who is asked in a chat. By its ID, as a link that their own client shows
/// by the name that the room has for them: what the old account's homeserver says that it is called
/// is somebody's words, and is told as such, and only where it is no more than a name.
fn asked_room(request: &InviteRequest) -> Line {
    let id = request.room_id.as_str();
    let link = Line::mention(&request.room_id.matrix_to_uri().to_string(), &clean(id, 255));
    match request.room.name.as_deref().map(|name| clean(name, LONGEST_ROOM_NAME)) {
        Some(name) if is_mere_name(&name) => {
            line!(
                "the room {link}, which they call “{name}”",
                link = link,
                name = Line::text(&name)
            )
        }
        _ => line!("the room {link}", link = link),
    }
}

/// Whether there is nothing in it that a client would make a link or a mention of, and more than
/// nothing.
fn is_mere_name(name: &str) -> bool {
    let has_link = ["://", "www.", "@", "#", "!"].iter().any(|part| name.contains(part));
    let is_dotted = |word: &str| word.trim_matches('.').contains('.');
    !name.is_empty() && !has_link && !name.split_whitespace().any(is_dotted)
}

/// Who is asked, as links that clients show as people.
fn moderators(request: &InviteRequest) -> Line {
    let mut asked = request.asked.iter().map(|user| {
        let id = clean(user.as_str(), 255);
        Line::mention(&user.matrix_to_uri().to_string(), &id)
    });
    let first = asked.next().unwrap_or_default();
    let all = asked.fold(first, |all, one| line!("{all}, {one}", all = all, one = one));
    if request.more == 0 {
        return all;
    }
    line!(
        "{all} ({more})",
        all = all,
        more = count(request.more, "other can as well", "others can as well")
    )
}

impl From<Message> for Text {
    fn from(message: Message) -> Self {
        Self { plain: message.plain, html: message.html }
    }
}

/// Why a moderator is invited to a direct message.
pub(crate) fn asking_moderator_reason(old: &UserId) -> String {
    line!(
        "{old} needs your help with a room that you look after. Decline, and it cannot ask you \
         again; say block there, and nobody can.",
        old = old
    )
    .into_plain()
}

/// What a moderator is told in a direct message who answered there.
pub(crate) fn chat_reply(reply: Reply, request: &InviteRequest) -> Option<Message> {
    let (new, label) = (&request.new, asked_room(request));
    Some(match reply {
        Reply::Nothing => Message::new(line!(
            "As far as I can see you may not invite people to {room}, so I did nothing.",
            room = label
        )),
        Reply::Over => Message::new("Thank you. This is settled: there is nothing more to do."),
        Reply::Thanks => Message::new(line!(
            "Thank you! The invitation itself has to come from you: please type `/invite {new}` in \
             {room}.",
            room = label,
            new = new
        )),
        Reply::Refused => Message::new(line!(
            "I have told {old} that you said no. I do not ask again.",
            old = &request.old
        )),
        // The message that asked says what became of it.
        Reply::Stopped => return None,
    })
}

/// Nobody is asked about these rooms any more.
pub(crate) fn stopped(requests: &[InviteRequest]) -> Message {
    let message = Message::new("I ask nobody about this any more, for whomever it may be:");
    message.list(requests.iter().map(asked_room))
}

/// `stop` by somebody who was asked for nothing.
pub(crate) fn no_request_to_stop() -> Message {
    Message::new(
        "I have asked you for nothing, or you may not invite people to that room, so there is \
         nothing to stop.",
    )
    .and("To stop a migration of your own, say `pause` or `cancel`.")
}
