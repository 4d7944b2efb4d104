//! What each command is for.

use super::message::{Line, Message, line};

/// What is said about one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Help {
    /// Under which heading it is listed.
    pub part: Part,
    /// The command with what follows it.
    pub usage: &'static str,
    /// What it does, in one line without a full stop.
    pub does: &'static str,
    /// What else there is to know: templates, one a paragraph.
    pub more: &'static [&'static str],
    /// A whole command as a person would type it.
    pub example: &'static str,
}

/// What a command has to do with, in the order in which `help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Begin,
    Choose,
    Move,
    Finish,
    Moderate,
    Administer,
}

impl Part {
    fn heading(self) -> &'static str {
        match self {
            Self::Begin => "**To begin**",
            Self::Choose => "**To see and choose what moves**",
            Self::Move => "**To move**",
            Self::Finish => "**At the end**",
            Self::Moderate => "**For moderators whom I asked**",
            Self::Administer => "**For admins**",
        }
    }
}

/// The texts, by command.
pub(crate) mod texts {
    use super::{Help, Part};

    /// `help`
    pub(crate) const HELP: Help = Help {
        part: Part::Begin,
        usage: "help [command]",
        does: "lists commands, or explains one with an example",
        more: &[],
        example: "help start",
    };
    /// `start`
    pub(crate) const START: Help = Help {
        part: Part::Begin,
        usage: "start @new:server",
        does: "begins: asks the new account for consent",
        more: &[
            "Say this from the account that you want to **leave**, with the name of the account \
             that you want to move **to**. That account must exist already.",
            "I then ask the new account. Nothing else happens before it agrees.",
        ],
        example: "start @alice:new.example",
    };
    /// `accept`
    pub(crate) const ACCEPT: Help = Help {
        part: Part::Begin,
        usage: "accept @old:server",
        does: "agrees to the migration; a ✅ on the question does the same",
        more: &["Say this from the **new** account, with the name of the account that asked."],
        example: "accept @alice:old.example",
    };
    /// `decline`
    pub(crate) const DECLINE: Help = Help {
        part: Part::Begin,
        usage: "decline @old:server",
        does: "refuses the migration; a ❌ on the question does the same",
        more: &["Say this from the account that was asked. The migration then ends."],
        example: "decline @alice:old.example",
    };
    /// `login`
    pub(crate) const LOGIN: Help = Help {
        part: Part::Begin,
        usage: "login password SECRET, login token SECRET, login service, login none",
        does: "gives access to the account that says it",
        more: &[
            "`login password` followed by the password: I make a session of my own with it, and do \
             not keep the password.",
            "`login token` followed by an access token: for accounts that log in through a website \
             and have no password.",
            "`login service`: if the admin of this account's server runs me as a service of it, I \
             need no password. Then I do this by myself, and you need not say it.",
            "`login none`: I do not act as this account. For the old account that means that it \
             invites nobody; for the new one, that you accept the invitations by hand.",
            "A password or token is only taken in an encrypted chat, and I delete the message \
             afterwards. `forget` logs my session out.",
        ],
        example: "login password correct horse battery staple",
    };
    /// `plan`
    pub(crate) const PLAN: Help = Help {
        part: Part::Choose,
        usage: "plan",
        does: "surveys both accounts and shows what would happen, changing nothing; until `go` the \
               new account sees no names",
        more: &["Say it as often as you like: it shows how things are now."],
        example: "plan",
    };
    /// `rooms`
    pub(crate) const ROOMS: Help = Help {
        part: Part::Choose,
        usage: "rooms [route]",
        does: "lists rooms with their routes, numbered",
        more: &[
            "A route is how the new account gets into a room: `there` (it is in already), `join` \
             (it joins by itself), `invite` (the old account invites it), `moderator` (a moderator \
             has to let it in), `unreachable`, `skipped`.",
        ],
        example: "rooms moderator",
    };
    /// `skip`
    pub(crate) const SKIP: Help = Help {
        part: Part::Choose,
        usage: "skip ROOM…, skip data",
        does: "takes rooms out of the plan, or what is copied besides rooms",
        more: &[
            "Name rooms by their numbers in `rooms`, or by ID, alias or link.",
            "Besides rooms there are `profile`, `room profiles`, `ignored people`, `push rules`, \
             `emotes`, `room settings`, `settings`, `direct chats` and `tags`, and `data` for all \
             of these.",
        ],
        example: "skip 3 7-9 #garden:old.example",
    };
    /// `include`
    pub(crate) const INCLUDE: Help = Help {
        part: Part::Choose,
        usage: "include ROOM…, include data",
        does: "puts back into the plan what `skip` took out, or adds other rooms to it",
        more: &["It takes the same names as `skip`."],
        example: "include 3",
    };
    /// `fast`
    pub(crate) const FAST: Help = Help {
        part: Part::Choose,
        usage: "fast, fast yes, fast no",
        does: "saves hours of waiting for invitations, after showing how",
        more: &[
            "Homeservers let an account be invited only so often, so many private rooms can take \
             hours. Where the old account may change who may join, I can let the new account in \
             without an invitation, and put the rule back. Others in the room see both \
             changes.",
            "`fast` shows the rooms and changes nothing. `fast yes` agrees, `fast no` takes that \
             back.",
        ],
        example: "fast",
    };
    /// `prefer`
    pub(crate) const PREFER: Help = Help {
        part: Part::Choose,
        usage: "prefer old, prefer new",
        does: "says whose name, avatar or setting counts where both accounts have one",
        more: &[
            "At first the new account's counts: what it has itself stays. After `prefer old` the \
             old account's takes its place. Rooms and rights are not touched by this.",
        ],
        example: "prefer old",
    };
    /// `go`
    pub(crate) const GO: Help = Help {
        part: Part::Move,
        usage: "go",
        does: "runs the plan shown last; a ✅ on the plan does the same",
        more: &["From then on `pause` and `cancel` stop it at any time."],
        example: "go",
    };
    /// `ask`
    pub(crate) const ASK: Help = Help {
        part: Part::Move,
        usage: "ask, ask yes, ask ROOM…, ask text WORDS",
        does: "asks moderators to let the new account in, after showing the exact text",
        more: &[
            "`ask` alone sends nothing: it shows the rooms that need a moderator, how I would ask in \
             each, and the exact text. `ask yes` then sends it, as does a ✅ on what was shown.",
            "`ask` with rooms is about those only. Name them by their numbers in `rooms`, or by ID, alias or link.",
            "`ask text` and words of your own puts these at the beginning. Who moves where to and what to do stay in it.",
        ],
        example: "ask text Hi, it is me, Alice from the Tuesday group.",
    };
    /// `stop`
    pub(crate) const STOP: Help = Help {
        part: Part::Moderate,
        usage: "stop",
        does: "ends invite requests for good in the rooms that a moderator was asked about",
        more: &["For moderators: nobody is asked about these rooms again, for whomever it may be."],
        example: "stop",
    };
    /// `status`
    pub(crate) const STATUS: Help = Help {
        part: Part::Move,
        usage: "status",
        does: "tells the phase, counts, what it waits for, how long still",
        more: &[],
        example: "status",
    };
    /// `pause`
    pub(crate) const PAUSE: Help = Help {
        part: Part::Move,
        usage: "pause",
        does: "stops until `resume` is said",
        more: &["What is being sent at that moment is still finished."],
        example: "pause",
    };
    /// `resume`
    pub(crate) const RESUME: Help = Help {
        part: Part::Move,
        usage: "resume",
        does: "goes on after `pause`",
        more: &[
            "When the old account is gone for good in the middle of a migration, `resume` from the \
             new one goes on without it.",
        ],
        example: "resume",
    };
    /// `cancel`
    pub(crate) const CANCEL: Help = Help {
        part: Part::Move,
        usage: "cancel",
        does: "ends the migration; it undoes nothing already done and says what was",
        more: &["Either account may say it at any time."],
        example: "cancel",
    };
    /// `retry`
    pub(crate) const RETRY: Help = Help {
        part: Part::Move,
        usage: "retry",
        does: "tries again what failed",
        more: &["What is done already is not done again."],
        example: "retry",
    };
    /// `report`
    pub(crate) const REPORT: Help = Help {
        part: Part::Finish,
        usage: "report",
        does: "gives the report as a message and as files",
        more: &["`report.html` opens in any browser, `report.csv` in any table program."],
        example: "report",
    };
    /// `block`
    pub(crate) const BLOCK: Help = Help {
        part: Part::Finish,
        usage: "block",
        does: "keeps me from asking this account for anything, whoever wants me to",
        more: &[
            "I then ask this account neither whether it takes part in a migration nor to let \
             somebody into a room, and say no to what it was asked. Whoever asked is not told why.",
            "This stays when you say `forget`. `unblock` takes it back.",
        ],
        example: "block",
    };
    /// `unblock`
    pub(crate) const UNBLOCK: Help = Help {
        part: Part::Finish,
        usage: "unblock",
        does: "lets me ask this account again, also for those whom it said no to",
        more: &["Nothing is asked by that. Your other account can then say `start` again."],
        example: "unblock",
    };
    /// `admin migrations`
    pub(crate) const ADMIN_MIGRATIONS: Help = Help {
        part: Part::Administer,
        usage: "admin migrations",
        does: "lists the migrations that are not over",
        more: &["An admin sees accounts, phases and counts: no rooms, no contacts, no secrets."],
        example: "admin migrations",
    };
    /// `admin show`
    pub(crate) const ADMIN_SHOW: Help = Help {
        part: Part::Administer,
        usage: "admin show NUMBER, admin show @user:server",
        does: "tells more of one migration",
        more: &[],
        example: "admin show 7",
    };
    /// `admin pause`
    pub(crate) const ADMIN_PAUSE: Help = Help {
        part: Part::Administer,
        usage: "admin pause NUMBER, admin pause @user:server",
        does: "stops a migration until `resume` is said; its person is told",
        more: &[],
        example: "admin pause 7",
    };
    /// `admin resume`
    pub(crate) const ADMIN_RESUME: Help = Help {
        part: Part::Administer,
        usage: "admin resume NUMBER, admin resume @user:server",
        does: "goes on with a paused migration; its person is told",
        more: &[],
        example: "admin resume 7",
    };
    /// `admin cancel`
    pub(crate) const ADMIN_CANCEL: Help = Help {
        part: Part::Administer,
        usage: "admin cancel NUMBER, admin cancel @user:server",
        does: "ends a migration, as `cancel` does; its person is told",
        more: &[],
        example: "admin cancel 7",
    };
    /// `admin announce`
    pub(crate) const ADMIN_ANNOUNCE: Help = Help {
        part: Part::Administer,
        usage: "admin announce TEXT",
        does: "tells every local account whose migration is not over",
        more: &[
            "Local are the accounts of my own server, and of those servers whose service I am.",
        ],
        example: "admin announce This server closes on Friday.",
    };
    /// `forget`
    pub(crate) const FORGET: Help = Help {
        part: Part::Finish,
        usage: "forget",
        does: "logs my sessions out and deletes all that I stored about you",
        more: &[
            "A migration that is still going has to be ended first, with `cancel`. What was done in rooms stays.",
        ],
        example: "forget",
    };
}

/// All commands, in the order of a migration.
pub(crate) fn list<'h>(helps: impl Iterator<Item = &'h Help>) -> Message {
    let helps: Vec<_> = helps.collect();
    let told = Message::new("I move a person from one Matrix account to another. I understand:");
    let parts = helps.chunk_by(|one, next| one.part == next.part);
    let told = parts.fold(told, |told, part| {
        let lines = part.iter().map(|help| {
            line!("{usage}: {does}", usage = usage(help), does = Line::from(help.does))
        });
        told.and_maybe(part.first().map(|help| help.part.heading())).list(lines)
    });
    told.and("`help` with a command explains it, as in `help start`.")
}

/// One command.
pub(crate) fn for_command(help: &Help) -> Message {
    let told =
        Message::new(line!("{usage}: {does}.", usage = usage(help), does = Line::from(help.does)));
    let told = help.more.iter().fold(told, |told, more| told.and(*more));
    told.and(line!("For example: `{example}`", example = help.example))
}

/// The ways to say a command.
fn usage(help: &Help) -> Line {
    help.usage
        .split(", ")
        .map(|usage| line!("`{usage}`", usage = usage))
        .reduce(|before, usage| line!("{before}, {usage}", before = before, usage = usage))
        .unwrap_or_default()
}

/// One row of the table of commands in Markdown.
pub(crate) fn command_row(help: &Help, from: &str) -> String {
    let usage: Vec<_> = help.usage.split(", ").map(|usage| format!("`{usage}`")).collect();
    format!("| {} | {from} | {} |\n", usage.join(", "), help.does)
}
