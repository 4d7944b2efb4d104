//! The time: one reminder, and then the end of waiting.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Inner, InviteRequest, RequestState, Way, ask::transaction, attend::End, content};
use crate::{
    clock::Timestamp,
    config,
    homeserver::Failure,
    migration::{MigrationId, Side, ToModerator, Unanswered},
    store::Batch,
};

/// What is due for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// Nothing, for this long.
    Nothing(Duration),
    /// To bring it to mind once more.
    Reminder,
    /// To wait for it no longer.
    Expiry,
}

/// What is due for an open request at `now`.
fn due(request: &InviteRequest, settings: config::Moderation, now: Timestamp) -> Option<Due> {
    let asked_at = request.asked_at.filter(|_| request.state == RequestState::Open)?;
    let passed = Duration::try_from(now.duration_since(asked_at)).unwrap_or_default();
    if passed >= settings.expire_after {
        return Some(Due::Expiry);
    }
    // A knock stays where moderators see it; it cannot be said again.
    let is_reminded = request.reminded_at.is_some() || request.way == Some(Way::Knock);
    if !is_reminded && passed >= settings.remind_after {
        return Some(Due::Reminder);
    }
    let next = if is_reminded {
        settings.expire_after
    } else {
        settings.expire_after.min(settings.remind_after)
    };
    Some(Due::Nothing(next - passed))
}

impl Inner {
    /// Does what is due, until `stop`.
    pub(super) async fn keep_time(
        &self,
        id: MigrationId,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let now = self.clock.now();
            let (mut expired, mut to_remind, mut next) = (Vec::new(), None, None);
            for request in self.records.of(id)? {
                match due(&request, self.settings, now) {
                    None => {}
                    Some(Due::Expiry) => expired.push(request.room_id),
                    Some(Due::Reminder) => to_remind = to_remind.or(Some(request)),
                    Some(Due::Nothing(left)) => {
                        next = Some(next.map_or(left, |next: Duration| next.min(left)));
                    }
                }
            }
            if !expired.is_empty() {
                self.end_all(id, &expired, Unanswered::Expired).await?;
                continue;
            }
            if let Some(request) = to_remind {
                if !self.gate.pass(stop).await {
                    return Ok(());
                }
                match self.remind(&request, stop).await {
                    Err(End::Failed(failure)) => {
                        tracing::info!(room = %request.room_id, %failure, "nobody was reminded");
                        next = Some(super::post::AFTER_FAILURE);
                    }
                    Err(end) => return Err(end),
                    Ok(()) => continue,
                }
            }
            let sleep = async {
                match next {
                    Some(next) => self.clock.sleep(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                _ = changed.changed() => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn remind(&self, request: &InviteRequest, stop: &CancellationToken) -> Result<(), End> {
        let (id, room) = (request.migration, &request.room_id);
        let now = self.clock.now();
        if request.way == Some(Way::DirectMessage) {
            let Some(moderator) = request.asked.first() else { return Ok(()) };
            let _turn = self.records.turn(id).await;
            let Some(mut reminded) = self.records.request(id, room)? else { return Ok(()) };
            reminded.reminded_at = Some(now);
            let mut batch = Batch::new();
            self.records.put(&mut batch, &reminded)?;
            self.migrations
                .tell_moderator(id, moderator, room, ToModerator::Reminder, batch)
                .await?;
            return Ok(());
        }
        let old = self.account(id, Side::Old, stop).await?;
        let content = content::reminder(request, &self.words.reminder(request));
        let again = transaction(request, "again");
        let reminder = match self.say(id, &old, room, &content, &again).await {
            Ok(event_id) => Some(event_id),
            // Whoever may not speak any more is not heard by trying again.
            Err(Failure::Refused { .. } | Failure::Unsendable(_) | Failure::Unencryptable(_)) => {
                None
            }
            Err(failure) => return Err(failure.into()),
        };
        self.records
            .change(id, room, |request| {
                request.reminded_at = Some(now);
                request.reminder = reminder;
            })
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ruma::owned_room_id;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn settings() -> config::Moderation {
        config::Moderation { remind_after: 3 * DAY, expire_after: 14 * DAY }
    }

    fn open(way: Way) -> InviteRequest {
        let mut request = super::super::ask::sample(MigrationId(1), owned_room_id!("!room:a"));
        request.state = RequestState::Open;
        request.way = Some(way);
        request.asked_at = Some(Timestamp::UNIX_EPOCH);
        request
    }

    fn at(days: u32) -> Timestamp {
        Timestamp::UNIX_EPOCH + days * DAY
    }

    #[test]
    fn there_is_one_reminder_and_then_an_end() {
        let mut request = open(Way::Message);
        assert_eq!(due(&request, settings(), at(1)), Some(Due::Nothing(2 * DAY)));
        assert_eq!(due(&request, settings(), at(3)), Some(Due::Reminder));
        request.reminded_at = Some(at(4));
        assert_eq!(due(&request, settings(), at(4)), Some(Due::Nothing(10 * DAY)));
        assert_eq!(due(&request, settings(), at(14)), Some(Due::Expiry));
        assert_eq!(due(&open(Way::Message), settings(), at(20)), Some(Due::Expiry));
    }

    #[test]
    fn a_knock_is_not_said_again_and_what_is_over_is_not_waited_for() {
        assert_eq!(due(&open(Way::Knock), settings(), at(5)), Some(Due::Nothing(9 * DAY)));
        let mut request = open(Way::Message);
        request.state = RequestState::Refused;
        assert_eq!(due(&request, settings(), at(20)), None);
    }
}
