//! Saying something as the old account, in the form that the room expects.

use ruma::{
    EventId, OwnedEventId, RoomId, TransactionId, events::StateEventType,
    events::room::encryption::RoomEncryptionEventContent,
};
use serde::Deserialize;
use serde_json::Value;

use super::{Inner, InviteRequest};
use crate::{
    access::Device,
    homeserver::{Account, Failure},
    migration::{MigrationId, Side},
};

impl Inner {
    /// Says something in a room: encrypted where the room is, and never plain there.
    ///
    /// # Errors
    ///
    /// As in [`Account::act`]; [`Failure::Unencryptable`] when it would have to be encrypted and cannot
    /// be.
    pub(super) async fn say(
        &self,
        id: MigrationId,
        old: &Account,
        room: &RoomId,
        content: &Value,
        transaction: &TransactionId,
    ) -> Result<OwnedEventId, Failure> {
        let Some(state) = old.state(room, StateEventType::RoomEncryption, "").await? else {
            return old.send_message(room, content, transaction).await;
        };
        let unencryptable = |why: &str| Failure::Unencryptable(why.to_owned());
        let encryption: RoomEncryptionEventContent = serde_json::from_value(state.into())
            .map_err(|_| unencryptable("it is not clear how the room is encrypted"))?;
        let device = self.migrations.device(id, Side::Old, false).await;
        let device =
            device.ok_or_else(|| unencryptable("there is no device to encrypt it with"))?;
        device.send_message(old, room, encryption, content, transaction).await
    }
}

/// An event as it came, or what is in it where it is an encrypted answer to a request.
pub(super) async fn unsealed(
    device: Option<&Device>,
    request: &InviteRequest,
    event: &str,
) -> Option<String> {
    #[derive(Deserialize)]
    struct Outside {
        r#type: String,
        content: Value,
    }
    let outside: Outside = serde_json::from_str(event).ok()?;
    if outside.r#type != "m.room.encrypted" {
        return Some(event.to_owned());
    }
    let to = outside.content.pointer("/m.relates_to/m.in_reply_to/event_id")?.as_str()?;
    if !request.is_asked_by(<&EventId>::try_from(to).ok()?) {
        return None;
    }
    device?.read(&request.room_id, event).await
}
