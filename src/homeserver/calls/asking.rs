//! The calls by which moderators are asked and heard.

use std::time::Duration;

use ruma::{
    EventId, OwnedEventId, OwnedServerName, OwnedUserId, RoomId, TransactionId,
    api::client::{
        filter::{FilterDefinition, create_filter},
        knock::knock_room,
        membership::leave_room,
        message::send_message_event,
        relations::get_relating_events_with_rel_type_and_event_type as get_relating_events,
        state::get_state_event_for_key::{self, v3::StateEventFormat},
        sync::sync_events,
    },
    events::{
        AnyMessageLikeEvent, MessageLikeEventType, StateEventType, TimelineEventType,
        relation::RelationType, room::create::RoomCreateEventContent,
    },
    presence::PresenceState,
    serde::Raw,
};
use serde::Deserialize;
use serde_json::Value;

use super::{found, parse, raw};
use crate::homeserver::{Account, Action, Failure, pacing::Errand, transport::Allowance};

impl Account {
    /// Sends a message with any content. The same `transaction` sends it once, however often it is
    /// tried.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act); `M_FORBIDDEN` when the account may not speak.
    pub async fn send_message(
        &self,
        room: &RoomId,
        content: &Value,
        transaction: &TransactionId,
    ) -> Result<OwnedEventId, Failure> {
        let request = send_message_event::v3::Request::new_raw(
            room.to_owned(),
            transaction.to_owned(),
            MessageLikeEventType::RoomMessage,
            raw(content)?,
        );
        Ok(self.act(Action::Message, request).await?.event_id)
    }

    /// Knocks on a room, with a reason for those who may open, asking the servers in `via` to help
    /// ([spec](https://spec.matrix.org/v1.18/client-server-api/#knocking-on-rooms)).
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act); `M_FORBIDDEN` when the room does not let the account knock.
    pub async fn knock(
        &self,
        room: &RoomId,
        via: Vec<OwnedServerName>,
        reason: String,
    ) -> Result<(), Failure> {
        let mut request = knock_room::v3::Request::new(room.to_owned().into());
        request.via = via;
        request.reason = Some(reason);
        let errand = Errand { room: Some(room), ..Action::Knock.into() };
        self.act_on(errand, &request).await.map(drop)
    }

    /// Takes a knock back. The account must not be in the room.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn take_back_knock(&self, room: &RoomId) -> Result<(), Failure> {
        let errand = Errand { room: Some(room), ..Action::Knock.into() };
        let request = leave_room::v3::Request::new(room.to_owned());
        self.act_on(errand, &request).await.map(drop)
    }

    /// The reactions to an event, oldest first: as many as a homeserver gives at once, which is
    /// more than moderators give.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act); `M_NOT_FOUND` when the account does not see the event.
    pub async fn reactions(
        &self,
        room: &RoomId,
        event: &EventId,
    ) -> Result<Vec<Raw<AnyMessageLikeEvent>>, Failure> {
        let mut request = get_relating_events::v1::Request::new(
            room.to_owned(),
            event.to_owned(),
            RelationType::Annotation,
            TimelineEventType::Reaction,
        );
        request.limit = Some(100_u32.into());
        let mut newest_first = self.act(Action::Read, request).await?.chunk;
        newest_first.reverse();
        Ok(newest_first)
    }

    /// Who created a room, and as what; `None` when the homeserver does not tell.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act); `M_FORBIDDEN` when the account is not in the room.
    pub async fn creation(
        &self,
        room: &RoomId,
    ) -> Result<Option<(OwnedUserId, RoomCreateEventContent)>, Failure> {
        #[derive(Deserialize)]
        struct Creation {
            sender: OwnedUserId,
            content: RoomCreateEventContent,
        }
        let mut request = get_state_event_for_key::v3::Request::new(
            room.to_owned(),
            StateEventType::RoomCreate,
            String::new(),
        );
        request.format = StateEventFormat::Event;
        let answer = found(self.act(Action::Read, request).await)?;
        let creation =
            answer.map(|answer| parse::<Creation>(answer.event_or_content.get(), "m.room.create"));
        Ok(creation.transpose()?.map(|creation| (creation.sender, creation.content)))
    }

    /// Has the homeserver keep a filter that is too long to be sent each time.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn keep_filter(&self, filter: FilterDefinition) -> Result<String, Failure> {
        let request = create_filter::v3::Request::new(self.user_id().to_owned(), filter);
        Ok(self.act(Action::Read, request).await?.filter_id)
    }

    /// Waits up to `timeout` for something new, beside whatever else the account does. Does not
    /// show the account as online.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn listen(
        &self,
        filter: sync_events::v3::Filter,
        since: Option<String>,
        timeout: Duration,
    ) -> Result<sync_events::v3::Response, Failure> {
        let mut request = sync_events::v3::Request::new();
        request.filter = Some(filter);
        let allowance = Allowance::of_sync(since.as_deref());
        request.timeout = since.is_some().then_some(timeout);
        request.since = since;
        request.set_presence = PresenceState::Offline;
        let attempt = || self.attempt_within(Action::Listen, allowance, request.clone());
        self.run_in_turn(Action::Listen.into(), attempt).await
    }
}
