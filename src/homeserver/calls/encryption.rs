//! The calls by which a device encrypts: what it tells of itself, asks of others, and sends them.

use ruma::{
    OwnedEventId, RoomId, TransactionId,
    api::client::{
        keys::{claim_keys, get_keys, upload_keys},
        message::send_message_event,
        to_device::send_event_to_device,
    },
    events::MessageLikeEventType,
    serde::Raw,
};

use crate::homeserver::{Account, Action, Failure};

impl Account {
    /// Tells of the keys of the session's device
    /// ([spec](https://spec.matrix.org/v1.18/client-server-api/#post_matrixclientv3keysupload)).
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn upload_keys(
        &self,
        request: upload_keys::v3::Request,
    ) -> Result<upload_keys::v3::Response, Failure> {
        self.act(Action::Read, request).await
    }

    /// Asks for the keys of people's devices.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn query_keys(
        &self,
        request: get_keys::v3::Request,
    ) -> Result<get_keys::v3::Response, Failure> {
        self.act(Action::Read, request).await
    }

    /// Claims one-time keys of devices.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn claim_keys(
        &self,
        request: claim_keys::v3::Request,
    ) -> Result<claim_keys::v3::Response, Failure> {
        self.act(Action::Read, request).await
    }

    /// Sends something to devices, and not to a room.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn send_to_devices(
        &self,
        request: send_event_to_device::v3::Request,
    ) -> Result<send_event_to_device::v3::Response, Failure> {
        self.act(Action::Read, request).await
    }

    /// Sends a message whose content was encrypted before. The same `transaction` sends it once,
    /// however often it is tried, and however it was encrypted then.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act); `M_FORBIDDEN` when the account may not speak.
    pub async fn send_encrypted<T>(
        &self,
        room: &RoomId,
        content: &Raw<T>,
        transaction: &TransactionId,
    ) -> Result<OwnedEventId, Failure> {
        let request = send_message_event::v3::Request::new_raw(
            room.to_owned(),
            transaction.to_owned(),
            MessageLikeEventType::RoomEncrypted,
            Raw::from_json(content.json().to_owned()),
        );
        Ok(self.act(Action::Message, request).await?.event_id)
    }
}
