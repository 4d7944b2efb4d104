//! A sync whose answer is read room by room, so that what makes no sense about one room costs that
//! room and nothing else.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ruma::{
    OwnedRoomId,
    api::{
        IncomingResponse, Metadata, OutgoingRequest, SupportedVersions,
        auth_scheme::SendAccessToken,
        client::sync::sync_events::v3::{GlobalAccountData, Request, Response},
        error::{FromHttpResponseError, IntoHttpError},
    },
    exports::{bytes::BufMut, http},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::homeserver::intake::Share;

/// ruma's request for a sync.
#[derive(Clone, Debug)]
pub(super) struct Sync(pub(super) Request);

impl Metadata for Sync {
    const METHOD: http::Method = Request::METHOD;
    const RATE_LIMITED: bool = Request::RATE_LIMITED;
    type Authentication = <Request as Metadata>::Authentication;
    type PathBuilder = <Request as Metadata>::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = Request::PATH_BUILDER;
}

impl OutgoingRequest for Sync {
    type EndpointError = <Request as OutgoingRequest>::EndpointError;
    type IncomingResponse = Synced;

    fn try_into_http_request<T: Default + BufMut + AsRef<[u8]>>(
        self,
        base_url: &str,
        token: SendAccessToken<'_>,
        versions: Cow<'_, SupportedVersions>,
    ) -> Result<http::Request<T>, IntoHttpError> {
        self.0.try_into_http_request(base_url, token, versions)
    }
}

/// What a sync told.
#[derive(Clone, Debug)]
pub struct Synced {
    /// What could be read. Only `next_batch`, `rooms` and `account_data` are.
    pub response: Response,
    /// Rooms that the account is in, and of which the homeserver told something that makes no sense.
    pub unreadable: BTreeSet<OwnedRoomId>,
    /// The memory that all of this takes.
    _share: Option<Arc<Share>>,
}

#[derive(Deserialize)]
struct Body<'a> {
    next_batch: String,
    #[serde(default, borrow)]
    rooms: Rooms<'a>,
    #[serde(default)]
    account_data: GlobalAccountData,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Rooms<'a> {
    #[serde(borrow)]
    join: BTreeMap<String, &'a RawValue>,
    #[serde(borrow)]
    invite: BTreeMap<String, &'a RawValue>,
    #[serde(borrow)]
    knock: BTreeMap<String, &'a RawValue>,
    #[serde(borrow)]
    leave: BTreeMap<String, &'a RawValue>,
}

impl IncomingResponse for Synced {
    type EndpointError = <Response as IncomingResponse>::EndpointError;

    fn try_from_http_response<T: AsRef<[u8]>>(
        response: http::Response<T>,
    ) -> Result<Self, FromHttpResponseError<Self::EndpointError>> {
        let share = response.extensions().get::<Arc<Share>>().cloned();
        let body: Body<'_> = serde_json::from_slice(response.body().as_ref())
            .map_err(|error| FromHttpResponseError::Deserialization(error.into()))?;
        let mut response = Response::new(body.next_batch);
        response.account_data = body.account_data;
        let rooms = &mut response.rooms;
        let unreadable;
        (rooms.join, unreadable) = read(&body.rooms.join);
        // Of these little is wanted, and it shows again when the room is gone to.
        (rooms.invite, _) = read(&body.rooms.invite);
        (rooms.knock, _) = read(&body.rooms.knock);
        (rooms.leave, _) = read(&body.rooms.leave);
        Ok(Self { response, unreadable, _share: share })
    }
}

/// What is told of each room, and of which rooms it makes no sense.
fn read<T: DeserializeOwned>(
    rooms: &BTreeMap<String, &RawValue>,
) -> (BTreeMap<OwnedRoomId, T>, BTreeSet<OwnedRoomId>) {
    let (mut read, mut unreadable) = (BTreeMap::new(), BTreeSet::new());
    for (room_id, room) in rooms {
        let Ok(room_id) = OwnedRoomId::try_from(room_id.as_str()) else {
            tracing::warn!("a sync names a room by what is no room ID");
            continue;
        };
        // Not the error's own words: they may quote the answer.
        if let Ok(room) = serde_json::from_str(room.get()) {
            read.insert(room_id, room);
        } else {
            tracing::warn!(room = %room_id, "a sync tells of a room what makes no sense");
            unreadable.insert(room_id);
        }
    }
    (read, unreadable)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn synced(body: &Value) -> Result<Synced, impl std::fmt::Debug> {
        Synced::try_from_http_response(http::Response::new(body.to_string()))
    }

    #[test]
    fn what_makes_no_sense_about_one_room_costs_that_room_only() {
        let good = json!({ "state": { "events": [] }, "timeline": { "events": [] } });
        let synced = synced(&json!({
            "next_batch": "s1",
            "rooms": {
                "join": {
                    "!good:a.example": good,
                    "!null:a.example": null,
                    "!text:a.example": "yes",
                    "!state:a.example": { "state": 7 },
                    "!counts:a.example": { "summary": { "m.joined_member_count": -1 } },
                    "no room": good,
                },
                "invite": { "!invite:a.example": { "invite_state": { "events": {} } } },
                "leave": { "!leave:a.example": [] },
            },
            "account_data": { "events": [{ "type": "m.direct", "content": {} }] },
        }))
        .unwrap();
        let rooms = &synced.response.rooms;
        assert_eq!(rooms.join.keys().collect::<Vec<_>>(), ["!good:a.example"]);
        assert!(rooms.invite.is_empty() && rooms.leave.is_empty());
        let unreadable: Vec<_> = synced.unreadable.iter().map(|id| id.as_str()).collect();
        assert_eq!(
            unreadable,
            ["!counts:a.example", "!null:a.example", "!state:a.example", "!text:a.example",]
        );
        assert_eq!(synced.response.account_data.events.len(), 1);
    }

    #[test]
    fn an_answer_that_is_no_sync_is_none() {
        for body in [json!({}), json!([]), json!({ "next_batch": 1 })] {
            assert!(synced(&body).is_err(), "{body}");
        }
        let settings = json!({ "next_batch": "s", "account_data": "lost" });
        assert!(synced(&settings).is_err(), "what the account holds is not taken for nothing");
    }
}
