//! Transactions of events. See
//! <https://spec.matrix.org/v1.17/application-service-api/#put_matrixappv1transactionstxnid>.

use std::{collections::VecDeque, sync::Arc};

use axum::{
    Extension, Json,
    body::{Bytes, HttpBody as _},
    extract::{FromRequest as _, Path, Request, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{
    credentials::Homeserver,
    done,
    error::Refusal,
    pushed::{Audience, Pushed},
};
use crate::{
    appservice::Appservice,
    store::{Batch, Store, StoreError, Table},
    supervise,
};

/// The largest transaction, in bytes. A homeserver repeats what is refused until it is taken, so
/// this is far above what one can be: a hundred events of 64 KiB, and what is said about them.
pub(super) const LARGEST: usize = 32 << 20;

/// The longest transaction ID, in bytes.
const LONGEST_ID: usize = 255;

/// How many transactions a homeserver is remembered to have sent. It repeats only the last one,
/// until that is acknowledged.
const REMEMBERED: usize = 32;

/// What takes transactions: for whom, and where it is remembered which.
#[derive(Clone, Debug)]
pub(super) struct Taker {
    audience: Arc<dyn Audience>,
    store: Store,
    recent: Table<RecentIds>,
}

/// The IDs of the transactions that one homeserver sent last and that were of use, the oldest
/// first: to repeat any other changes nothing. Stored, since a homeserver also repeats what it sent
/// to a bot that was stopped meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct RecentIds(VecDeque<String>);

impl Taker {
    pub(super) fn new(store: Store, audience: Arc<dyn Audience>) -> Self {
        Self { audience, recent: store.table("transactions"), store }
    }

    fn recent(&self, by: &Appservice) -> Result<RecentIds, StoreError> {
        Ok(self.recent.get(by.server().as_str())?.unwrap_or_default())
    }

    async fn remember(&self, by: &Appservice, id: &str) -> Result<(), StoreError> {
        let RecentIds(mut ids) = self.recent(by)?;
        if ids.len() == REMEMBERED {
            ids.pop_front();
        }
        ids.push_back(id.to_owned());
        let mut batch = Batch::new();
        batch.put(&self.recent, by.server().as_str(), &RecentIds(ids))?;
        self.store.commit(batch).await
    }
}

/// A transaction as far as it is read: what comes along with the events is left alone.
#[derive(Deserialize)]
struct Transaction<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    content: &'a RawValue,
}

/// Takes a transaction, and acknowledges it once what matters of it is stored.
pub(super) async fn take(
    State(taker): State<Taker>,
    Extension(homeserver): Extension<Arc<Homeserver>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    if id.len() > LONGEST_ID {
        return Err(Refusal::LongId(LONGEST_ID));
    }
    let by = &homeserver.appservice;
    // Taken before the body is read, so that there is only one in memory.
    let _turn = homeserver.turn.lock().await;
    let body = read(request).await?;
    if taker.recent(by)?.0.contains(&id) {
        return Ok(done());
    }
    let (sorter, server) = (taker.clone(), homeserver.clone());
    // Megabytes of JSON take their time, in which chats go on.
    let sorted =
        tokio::task::spawn_blocking(move || sort(&body, &server.appservice, &*sorter.audience));
    // The homeserver would repeat it for ever, and push nothing else: what makes the program panic is
    // passed over.
    let Ok(sorted) = sorted.await else {
        supervise::noticed("transactions");
        return Ok(done());
    };
    let awaited = sorted?;
    for event in &awaited {
        if let Some(pushed) = open(by, event) {
            taker.audience.hear(&pushed).await?;
        }
    }
    if !awaited.is_empty() {
        tracing::debug!(server = %by.server(), events = awaited.len(), "pushed");
        taker.remember(by, &id).await?;
    }
    Ok(done())
}

async fn read(request: Request) -> Result<Bytes, Refusal> {
    let announced = request.body().size_hint().lower();
    if usize::try_from(announced).is_ok_and(|announced| announced > LARGEST) {
        return Err(Refusal::TooLarge(LARGEST));
    }
    Bytes::from_request(request, &()).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge(LARGEST),
        _ => Refusal::Broken,
    })
}

/// The events of a transaction that are awaited. One that is malformed costs itself only: if the
/// whole were refused, the homeserver would repeat it for ever and send nothing else.
fn sort(
    body: &[u8],
    by: &Appservice,
    audience: &dyn Audience,
) -> Result<Vec<Box<RawValue>>, Refusal> {
    let transaction: Transaction<'_> = serde_json::from_slice(body)
        .map_err(|error| if error.is_data() { Refusal::BadJson } else { Refusal::NotJson })?;
    let is_awaited = |event: &&RawValue| {
        open(by, event).is_some_and(|pushed| {
            audience.pass(&pushed);
            audience.awaits(by, &pushed.envelope)
        })
    };
    Ok(transaction.events.into_iter().filter(is_awaited).map(ToOwned::to_owned).collect())
}

fn open<'a>(by: &'a Appservice, event: &'a RawValue) -> Option<Pushed<'a>> {
    let envelope = serde_json::from_str(event.get()).ok()?;
    let Content { content } = serde_json::from_str(event.get()).ok()?;
    Some(Pushed::new(by, envelope, content))
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;
    use crate::web::Envelope;

    /// Waits for messages, and for nothing else.
    #[derive(Debug)]
    struct Messages;

    impl Audience for Messages {
        fn awaits(&self, _: &Appservice, envelope: &Envelope<'_>) -> bool {
            envelope.event_type == "m.room.message"
        }

        fn hear<'a>(&'a self, _: &'a Pushed<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
            Box::pin(async { Ok(()) })
        }
    }

    fn service() -> Appservice {
        let text = "{id: tern, url: null, as_token: as, hs_token: hs, sender_localpart: tern, \
                    namespaces: {}}";
        Appservice::parse("old.example".try_into().unwrap(), text).unwrap()
    }

    /// Any JSON, with the keys of an event among its own.
    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            Just(json!("m.room.message")),
            Just(json!("@old:old.example")),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            let key =
                prop_oneof!["[a-z_]{1,8}", "type|sender|room_id|event_id|state_key|content|events"];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(key, inner, 0..6)
                    .prop_map(|map| Value::Object(Map::from_iter(map))),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(sort(&body, &service(), &Messages));
        }

        #[test]
        fn whatever_lies_beside_it_an_event_that_is_awaited_is_found(
            whole in anything(),
            before in proptest::collection::vec(anything(), 0..6),
            after in proptest::collection::vec(anything(), 0..6),
        ) {
            drop(sort(whole.to_string().as_bytes(), &service(), &Messages));
            let event = json!({
                "type": "m.room.message",
                "room_id": "!room:old.example",
                "sender": "@old:old.example",
                "event_id": "$event",
                "content": { "body": "found" },
            });
            let events: Vec<_> = before.into_iter().chain([event]).chain(after).collect();
            let body = json!({ "events": events, "ephemeral": whole }).to_string();
            let found = sort(body.as_bytes(), &service(), &Messages).unwrap();
            let service = service();
            let found: Vec<_> = found.iter().filter_map(|event| open(&service, event)).collect();
            let bodies = found.iter().filter_map(|pushed| pushed.content::<Value>());
            prop_assert_eq!(bodies.filter(|content| content["body"] == "found").count(), 1);
        }
    }

    #[test]
    fn remembered_transactions_are_stored_in_this_form() {
        let ids = RecentIds(["17", "18"].map(ToOwned::to_owned).into());
        insta::assert_json_snapshot!(ids, @r#"
        [
          "17",
          "18"
        ]
        "#);
    }
}
