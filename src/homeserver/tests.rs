//! Faults. A fake stands in for a homeserver here only because a real one cannot be told to fail
//! in a certain way; how real ones behave is tested with real ones, end to end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use rand::{SeedableRng as _, rngs::StdRng};
use ruma::{OwnedUserId, RoomId, UserId, owned_user_id, room_id, serde::JsonObject, user_id};
use tokio_util::sync::CancellationToken;

use self::fake::Fake;
use super::*;
use crate::{clock::HeldClock, secret::Secret, store::Store};

mod discovery;
mod excess;
mod failures;
mod fake;
mod lanes;
mod one_room;
mod pins;
mod requests;

fn arctic() -> &'static RoomId {
    room_id!("!arctic:example.org")
}

fn sooty() -> &'static RoomId {
    room_id!("!sooty:example.org")
}

fn bob() -> &'static UserId {
    user_id!("@bob:example.org")
}

/// Never moves unless told, so that a test that waits for real would hang.
fn clock() -> Arc<HeldClock> {
    HeldClock::new(Timestamp::UNIX_EPOCH)
}

fn transport(clock: &Arc<HeldClock>) -> Transport {
    let timeouts = Timeouts {
        connect: Duration::from_secs(5),
        request: Duration::from_millis(500),
        long_request: Duration::from_secs(5),
        ..Timeouts::default()
    };
    let reach = Reach { timeouts, private_addresses: true, plain_http: true, ..Reach::default() };
    Transport::new(clock.clone(), StdRng::seed_from_u64(1), reach).unwrap()
}

async fn account(transport: &Transport, fake: &Fake) -> Account {
    account_with(transport, fake, "syt_token").await
}

async fn account_with(transport: &Transport, fake: &Fake, token: &str) -> Account {
    let server = transport.server_at(fake.url()).await.unwrap();
    let auth = Auth::Token(Secret::from(token));
    Account::new(transport.clone(), server, &alice(), auth)
}

/// That a test may act as an account.
#[derive(Debug)]
struct Allowed(OwnedUserId, CancellationToken);

impl Mandate for Allowed {
    fn user_id(&self) -> &UserId {
        &self.0
    }

    fn ended(&self) -> &CancellationToken {
        &self.1
    }
}

fn alice() -> Allowed {
    Allowed(owned_user_id!("@alice:example.org"), CancellationToken::new())
}
