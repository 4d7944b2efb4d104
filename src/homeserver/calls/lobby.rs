//! The calls by which rooms are opened to another account for a moment.

use ruma::{
    OwnedRoomId, OwnedServerName, RoomId,
    api::client::{
        membership::join_room_by_id_or_alias,
        room::create_room::{self, v3::RoomPreset},
    },
    serde::JsonObject,
};
use serde_json::json;

use super::raw;
use crate::homeserver::{Account, Action, Failure, Nearness, pacing::Errand};

impl Account {
    /// Makes a room that nobody gets into but by an invitation of this account. `mark` goes into
    /// its `m.room.create`. When it fails, the room may be there all the same.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub(crate) async fn create_lobby(
        &self,
        name: &str,
        mark: &JsonObject,
    ) -> Result<OwnedRoomId, Failure> {
        let mut request = create_room::v3::Request::new();
        request.name = Some(name.to_owned());
        request.preset = Some(RoomPreset::PrivateChat);
        request.creation_content = Some(raw::<JsonObject>(mark)?.cast_unchecked());
        let levels = raw::<JsonObject>(&json!({ "invite": 100 }))?;
        request.power_level_content_override = Some(levels.cast_unchecked());
        Ok(self.act(Action::CreateRoom, request).await?.room_id)
    }

    /// Runs `attempt`, which [tries to join](Self::try_to_join) `room`, when the turn of the join
    /// has come; and again after a wait when it fails as limited.
    ///
    /// # Errors
    ///
    /// Those of `attempt`, and [`Failure::Stopped`].
    pub(crate) async fn join_in_turn<T, F>(
        &self,
        room: &RoomId,
        nearness: Nearness,
        attempt: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let errand = Errand { room: Some(room), ..nearness.join().into() };
        self.run_in_turn(errand, || Box::pin(attempt())).await
    }

    /// Tries to join a room, at once and a single time.
    ///
    /// # Errors
    ///
    /// A [`Failure`], also when a wait would help.
    pub(crate) async fn try_to_join(
        &self,
        room: &RoomId,
        via: Vec<OwnedServerName>,
    ) -> Result<(), Failure> {
        let mut request = join_room_by_id_or_alias::v3::Request::new(room.to_owned().into());
        request.via = via;
        self.attempt(Action::RemoteJoin, request).await.map(drop)
    }
}
