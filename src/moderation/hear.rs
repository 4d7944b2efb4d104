//! Listening as both accounts: the old one sees what is said in the rooms, the new one is invited.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use ruma::{
    OwnedRoomId, RoomId,
    api::client::{
        filter::{Filter, FilterDefinition, RoomEventFilter, RoomFilter},
        sync::sync_events::v3,
    },
    events::room::member::MembershipState,
};
use tokio_util::sync::CancellationToken;

use super::{
    Inner, InviteRequest, RequestState, Way,
    answer::Reply,
    attend::End,
    heard::Heard,
    read::membership,
    say::unsealed,
    sign::{Sign, own_membership, sign},
};
use crate::{
    access::Device,
    homeserver::{Account, Failure},
    migration::{MigrationId, Side, Unanswered},
    store::StoreError,
};

/// How long the homeserver may hold a request that waits for news.
const LONG_POLL: Duration = Duration::from_secs(30);
/// How long a homeserver is left alone that could not be listened to.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// How often, and how far apart, is looked whether an invitation is known to the old account's
/// homeserver as well.
const ARRIVAL: (u32, Duration) = (10, Duration::from_millis(500));
/// How many rooms fit into the address of a request.
const IN_ADDRESS: usize = 30;
/// How often is looked as an account whose session may be that of a client in the person's hand: a
/// sync that goes on from another takes room keys away from that client.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What is listened to.
#[derive(Debug)]
struct Listening {
    rooms: BTreeSet<OwnedRoomId>,
    filter: v3::Filter,
    /// With what encrypted answers are read, once something was encrypted.
    device: Option<Arc<Device>>,
}

/// What a sync told the old account.
#[derive(Clone, Copy)]
struct News<'a> {
    response: &'a v3::Response,
    /// With what encrypted answers are read.
    device: Option<&'a Device>,
    /// Whether it does not go on from another.
    is_first: bool,
}

impl Inner {
    /// Listens as one of the accounts until `stop`.
    pub(super) async fn hear(
        &self,
        id: MigrationId,
        side: Side,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        let mut changed = self.changed.subscribe();
        let mut listening: Option<Listening> = None;
        while !stop.is_cancelled() {
            changed.mark_unchanged();
            let rooms = self.live_rooms(id)?;
            if rooms.is_empty() {
                tokio::select! {
                    _ = changed.changed() => continue,
                    () = stop.cancelled() => return Ok(()),
                }
            }
            let heard = async {
                let account = self.account(id, side, stop).await?;
                if listening.as_ref().is_none_or(|known| !rooms.is_subset(&known.rooms)) {
                    let filter = filter_for(&account, side, &rooms).await.map_err(End::from)?;
                    let device = listening.take().and_then(|known| known.device);
                    listening = Some(Listening { rooms, filter, device });
                }
                let Some(known) = &mut listening else { return Ok(()) };
                self.hear_once(id, side, &account, known, stop).await
            };
            match heard.await {
                Err(End::Failed(failure)) => {
                    tracing::debug!(migration = %id, ?side, %failure, "cannot listen");
                    tokio::select! {
                        () = self.clock.sleep(AFTER_FAILURE) => {}
                        () = stop.cancelled() => {}
                    }
                }
                // The other account may be enough.
                Err(End::NoAccess) if side == Side::New => stop.cancelled().await,
                Err(End::AccessLost(_)) => return Err(End::AccessLost(side)),
                Err(End::Stopped) | Ok(()) => {}
                Err(end) => return Err(end),
            }
        }
        Ok(())
    }

    fn live_rooms(&self, id: MigrationId) -> Result<BTreeSet<OwnedRoomId>, StoreError> {
        let requests = self.records.of(id)?.into_iter();
        Ok(requests.filter(|it| it.state.is_live()).map(|request| request.room_id).collect())
    }

    async fn hear_once(
        &self,
        id: MigrationId,
        side: Side,
        account: &Account,
        listening: &mut Listening,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        let shared = self.migrations.shares_session(id, side)?;
        let since = if shared { None } else { self.records.heard(id, side)? };
        let is_first = since.is_none();
        let response = self.wait_for_news(id, account, listening, since, stop).await?;
        let Some(response) = response else { return Ok(()) };
        if side == Side::Old {
            let before = listening.device.take().filter(|_| !shared);
            listening.device = self.take_in_keys(id, account, &response, before).await?;
        }
        for request in self.records.of(id)? {
            if request.state.is_live() {
                match side {
                    Side::Old => {
                        let news = News {
                            response: &response,
                            device: listening.device.as_deref(),
                            is_first,
                        };
                        self.heed_in_room(&request, news, account, stop).await?;
                    }
                    Side::New => self.heed_own_membership(&request, &response, stop).await?,
                }
            }
        }
        if shared {
            tokio::select! {
                () = self.clock.sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => {}
            }
            return Ok(());
        }
        Ok(self.records.set_heard(id, side, &response.next_batch).await?)
    }

    /// The old account's device, with the keys that a sync brought it.
    async fn take_in_keys(
        &self,
        id: MigrationId,
        old: &Account,
        response: &v3::Response,
        before: Option<Arc<Device>>,
    ) -> Result<Option<Arc<Device>>, Failure> {
        let device = match before {
            Some(device) => device,
            None => match self.migrations.device(id, Side::Old, true).await {
                Some(device) => device,
                None => return Ok(None),
            },
        };
        match device.receive(old, response).await {
            Err(failure) if failure.is_retryable() => return Err(failure),
            // Reactions are heard without keys.
            Err(failure) => tracing::error!(migration = %id, %failure, "no keys are taken in"),
            Ok(()) => {}
        }
        Ok(Some(device))
    }

    /// The next news; nothing when other rooms are to be listened to meanwhile.
    async fn wait_for_news(
        &self,
        id: MigrationId,
        account: &Account,
        listening: &Listening,
        since: Option<String>,
        stop: &CancellationToken,
    ) -> Result<Option<v3::Response>, End> {
        let mut changed = self.changed.subscribe();
        let mut news = std::pin::pin!(account.listen(listening.filter.clone(), since, LONG_POLL));
        loop {
            tokio::select! {
                news = &mut news => return Ok(Some(news?)),
                _ = changed.changed() => {
                    let rooms = self.live_rooms(id)?;
                    if rooms.is_empty() || !rooms.is_subset(&listening.rooms) {
                        return Ok(None);
                    }
                }
                () = stop.cancelled() => return Ok(None),
            }
        }
    }

    /// What the old account sees in the room.
    async fn heed_in_room(
        &self,
        request: &InviteRequest,
        news: News<'_>,
        old: &Account,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        let News { response, device, is_first } = news;
        let (id, room) = (request.migration, &request.room_id);
        if let Some(device) = device {
            let late = device.read_late(room).await;
            for sign in late.iter().filter_map(|event| sign(request, event)) {
                self.follow(request, sign, stop).await?;
            }
        }
        let Some(joined) = response.rooms.join.get(room) else {
            let is_out = response.rooms.leave.contains_key(room) || is_first;
            if is_out && request.way != Some(Way::Knock) {
                self.end_all(id, &[room], Unanswered::OutOfRoom).await?;
            }
            return Ok(());
        };
        let mut signs: Vec<_> = match &joined.state {
            v3::State::Before(state) | v3::State::After(state) => {
                state.events.iter().filter_map(|event| sign(request, event.json().get())).collect()
            }
            _ => Vec::new(),
        };
        if joined.timeline.limited || is_first {
            signs.extend(self.missed(request, old).await?);
        }
        for event in &joined.timeline.events {
            let said = unsealed(device, request, event.json().get()).await;
            signs.extend(said.and_then(|event| sign(request, &event)));
        }
        for sign in signs {
            self.follow(request, sign, stop).await?;
        }
        Ok(())
    }

    /// What happened in a room that news did not tell of, because there was too much.
    async fn missed(&self, request: &InviteRequest, old: &Account) -> Result<Vec<Sign>, Failure> {
        let room = &request.room_id;
        let mut signs = Vec::new();
        let new = membership(old, room, &request.new).await?;
        if matches!(new, Some(MembershipState::Invite | MembershipState::Join)) {
            signs.push(Sign::Opened { by: None });
        }
        let asked = request.message.as_ref().map(|message| &message.event_id);
        let asked = asked.filter(|_| request.way == Some(Way::Message));
        for event in asked.into_iter().chain(&request.reminder) {
            match old.reactions(room, event).await {
                Ok(reactions) => signs.extend(
                    reactions.iter().filter_map(|reaction| sign(request, reaction.json().get())),
                ),
                Err(Failure::Refused { .. }) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(signs)
    }

    /// What the new account is told about itself. Its homeserver's word counts for that and for
    /// nothing else: whatever it tells of other people, they may not have said.
    async fn heed_own_membership(
        &self,
        request: &InviteRequest,
        response: &v3::Response,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        let (id, room) = (request.migration, &request.room_id);
        let rooms = &response.rooms;
        if let Some(invited) = rooms.invite.get(room) {
            self.await_arrival(id, room, &request.new, stop).await?;
            let events = invited.invite_state.events.iter();
            let by = events.filter_map(|event| own_membership(request, event.json().get()));
            let mut by = by.filter_map(|sign| match sign {
                Sign::Opened { by } => by,
                _ => None,
            });
            self.opened(id, room, by.next_back()).await?;
        } else if rooms.join.contains_key(room) {
            self.opened(id, room, None).await?;
        } else if let Some(left) = rooms.leave.get(room) {
            let events = left.timeline.events.iter();
            let mut signs = events.filter_map(|event| own_membership(request, event.json().get()));
            // It is out of the room, whatever was before.
            if let Some(sign @ Sign::KnockRefused { .. }) = signs.next_back() {
                self.follow(request, sign, stop).await?;
            }
        }
        Ok(())
    }

    /// The invited account may hear of an invitation before the inviting homeserver has stored it,
    /// and would not be let in.
    async fn await_arrival(
        &self,
        id: MigrationId,
        room: &RoomId,
        new: &ruma::UserId,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        let old = self.account(id, Side::Old, stop).await?;
        for _ in 0..ARRIVAL.0 {
            match membership(&old, room, new).await {
                Ok(Some(MembershipState::Invite | MembershipState::Join))
                // The old account is not there to see it.
                | Err(Failure::Refused { .. }) => return Ok(()),
                Ok(_) => self.clock.sleep(ARRIVAL.1).await,
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(())
    }

    async fn follow(
        &self,
        request: &InviteRequest,
        sign: Sign,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        let (id, room) = (request.migration, &request.room_id);
        match sign {
            Sign::Opened { by } => self.opened(id, room, by).await?,
            Sign::KnockRefused { by } => {
                self.refuse(id, room, &by, RequestState::Refused).await?;
            }
            Sign::Said(said) => {
                let heard = Heard::told_by_old(said.by, said.to, said.answer);
                if self.heed(request, &heard, stop).await? == Reply::Thanks {
                    self.thank(id, room, heard.by(), stop).await?;
                }
            }
        }
        Ok(())
    }
}

async fn filter_for(
    account: &Account,
    side: Side,
    rooms: &BTreeSet<OwnedRoomId>,
) -> Result<v3::Filter, Failure> {
    let types = |types: &[&str]| {
        let mut filter = RoomEventFilter::empty();
        filter.types = Some(types.iter().map(|name| (*name).to_owned()).collect());
        filter
    };
    let mut filter = FilterDefinition::empty();
    filter.presence = Filter::ignore_all();
    filter.account_data = Filter::ignore_all();
    filter.room = RoomFilter::empty();
    filter.room.rooms = Some(rooms.iter().cloned().collect());
    filter.room.ephemeral = RoomEventFilter::ignore_all();
    filter.room.account_data = RoomEventFilter::ignore_all();
    (filter.room.state, filter.room.timeline) = match side {
        Side::Old => {
            let timeline = [
                "m.reaction",
                "m.room.encrypted",
                "m.room.join_rules",
                "m.room.member",
                "m.room.message",
            ];
            (types(&["m.room.join_rules"]), types(&timeline))
        }
        Side::New => (types(&[]), types(&["m.room.member"])),
    };
    filter.room.timeline.limit = Some(100_u32.into());
    if rooms.len() <= IN_ADDRESS {
        return Ok(v3::Filter::FilterDefinition(filter));
    }
    Ok(v3::Filter::FilterId(account.keep_filter(filter).await?))
}
