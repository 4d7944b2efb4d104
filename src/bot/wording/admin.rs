//! What an admin of the bot is told: accounts, phases and counts, and nothing of what is in them.

use super::{
    message::{Line, Message, line},
    value::{about, count, rooms},
};
use crate::{
    clock::Timestamp,
    migration::{Access, Ending, Migration, Phase, Progress, Side},
};

/// How many migrations are listed.
const LISTED: usize = 50;

/// The answer to `admin migrations`.
pub(crate) fn admin_migrations(migrations: &[Migration], now: Timestamp) -> Message {
    let (over, going): (Vec<_>, Vec<_>) =
        migrations.iter().partition(|migration| migration.phase.is_over());
    let over = count(over.len(), "is over", "are over");
    if going.is_empty() {
        return Message::new(line!("**No migration is under way.** {over}.", over = over));
    }
    let head = line!(
        "**{going}** not over, and {over}.",
        going = count(going.len(), "migration", "migrations"),
        over = over
    );
    let listed = going.iter().rev().take(LISTED).map(|migration| {
        line!(
            "{id}: {old} → {new}: {phase}, begun {ago} ago",
            id = number(migration),
            old = &migration.old.user_id,
            new = &migration.new.user_id,
            phase = phase(&migration.phase),
            ago = since(migration.started, now)
        )
    });
    let more = going.len().saturating_sub(LISTED);
    let more = (more > 0).then(|| line!("and {more} older ones", more = more));
    Message::new(head)
        .list(listed.chain(more))
        .and("Say `admin show` with a number or an account for more of one.")
}

/// The answer to `admin show`.
pub(crate) fn admin_show(
    migration: &Migration,
    progress: Option<&Progress>,
    now: Timestamp,
) -> Message {
    let access = |side: Side| access(migration.party(side).access);
    let mut points = vec![
        line!("phase: {phase}", phase = phase(&migration.phase)),
        line!("begun {ago} ago", ago = since(migration.started, now)),
        line!("access to the old account: {access}", access = access(Side::Old)),
        line!("access to the new account: {access}", access = access(Side::New)),
    ];
    if let Some(progress) = progress {
        points.push(line!(
            "{rooms} to enter: {done} done, {failed} failed, {by_hand} by hand",
            rooms = rooms(progress.rooms),
            done = progress.done,
            failed = progress.failed,
            by_hand = progress.by_hand
        ));
        points.push(match progress.waits.first() {
            Some(wait) => line!("waits {left} for a limit", left = about(wait.remaining)),
            None => line!("waits for no limit"),
        });
    }
    Message::new(line!(
        "Migration {id}: {old} → {new}",
        id = number(migration),
        old = &migration.old.user_id,
        new = &migration.new.user_id
    ))
    .list(points)
    .and(line!(
        "`admin pause {id}`, `admin resume {id}` and `admin cancel {id}` act on it, and I tell both \
         accounts.",
        id = number(migration)
    ))
}

/// After `admin pause`, `admin resume` or `admin cancel`.
pub(crate) fn admin_done(migration: &Migration) -> Message {
    Message::new(line!(
        "Done: migration {id} is now {phase}. Both accounts are told.",
        id = number(migration),
        phase = phase(&migration.phase)
    ))
}

/// The same, when it was done before a restart.
pub(crate) fn admin_done_before() -> Message {
    Message::new("Done. Say `admin migrations` to see how they stand.")
}

/// When a migration is not in a phase for that.
pub(crate) fn admin_not_now(migration: &Migration) -> Message {
    Message::new(line!(
        "That is not possible now: migration {id} is {phase}. Nothing was changed.",
        id = number(migration),
        phase = phase(&migration.phase)
    ))
    .and(line!("`admin show {id}` tells more.", id = number(migration)))
}

/// After `admin announce`.
pub(crate) fn admin_announced(told: usize) -> Message {
    if told == 0 {
        return Message::new(
            "I told nobody: no account of a server that I am here for has a migration that is not over.",
        );
    }
    Message::new(line!(
        "I am telling it to {n} whose migration is not over.",
        n = count(told, "local account", "local accounts")
    ))
}

fn number(migration: &Migration) -> String {
    migration.id.to_string()
}

fn since(then: Timestamp, now: Timestamp) -> super::value::Value {
    about(std::time::Duration::try_from(now.duration_since(then)).unwrap_or_default())
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Unknown => "not yet",
        Access::None => "no, as its person said",
        Access::Session => "by a session",
        Access::Masquerade => "as a service",
        Access::Lost => "lost",
    }
}

fn phase(phase: &Phase) -> Line {
    let words = match phase {
        Phase::AwaitingConsent => "waiting for the new account to agree",
        Phase::AwaitingAccess => "waiting for access",
        Phase::Surveying => "looking at both accounts",
        Phase::AwaitingGo => "waiting for `go`",
        Phase::Running => "running",
        Phase::WaitingForModerators => "waiting for moderators",
        Phase::Paused(_) => "paused",
        Phase::Failed(_) => "stuck: an account could not be read",
        Phase::Finished => "finished",
        Phase::Cancelled(Ending::Declined) => "ended: the new account said no",
        Phase::Cancelled(Ending::Expired) => "ended: nobody answered",
        Phase::Cancelled(Ending::Lapsed) => "ended: nobody said `go`",
        Phase::Cancelled(Ending::CancelledBy(_)) => "cancelled",
    };
    Line::from(words)
}
