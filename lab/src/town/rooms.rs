//! The rooms that people meet in.

use anyhow::Result;
use ruma::{OwnedRoomId, RoomVersionId, events::tag::TagName, room::JoinRuleKind};

use super::{People, Place};
use crate::{Account, RoomSpec};

/// What a room of version 12 gives to the successor of a creator, whose own power cannot be handed
/// on: enough for everything that numbers decide.
const AS_CREATOR: i64 = 150;

const CREATOR: &str = "what only a creator may do cannot be handed on";
const MODERATOR: &str = "a moderator cannot hand on her power level";

/// Makes them all: those of Mara's old account, and the chat that her new account has already.
pub(super) async fn open(people: &People, prefix: &str) -> Result<(Vec<Place>, OwnedRoomId)> {
    let (private, club, public, chats, there) = tokio::try_join!(
        private(people),
        bird_club(people),
        public(people, prefix),
        chats(people),
        there_already(people),
    )?;
    let (family, own) = there;
    let places = [private, club, public, chats, vec![family]].concat();
    Ok((places, own))
}

async fn private(people: &People) -> Result<Vec<Place>> {
    let People { old, jonas, ayse, tom, nuria, .. } = people;

    let spec = RoomSpec::private("Flat 12b").encrypted().power(old.user_id(), 100);
    let flat = meet(jonas, spec, &[old, tom]).await?;
    jonas.post(&flat, "The meter reader comes on Thursday at nine.").await?;
    old.post(&flat, "I am home until ten, I can let them in.").await?;
    old.set_tag(&flat, TagName::Favorite, Some(0.1)).await?;

    let lisbon = meet(ayse, RoomSpec::private("Lisbon in May").encrypted(), &[old, tom]).await?;
    let travel = TagName::from("u.travel");
    old.set_tag(&lisbon, travel.clone(), None).await?;
    old.set_tag(&lisbon, TagName::Favorite, Some(0.2)).await?;

    let books = meet(old, RoomSpec::private("Book circle"), &[jonas, ayse]).await?;
    ayse.message(&books, "Next time at mine. I have finished the chapter on the heron.").await?;

    let spec = RoomSpec::private("Allotment 7").version(RoomVersionId::V10);
    let allotment = meet(old, spec, &[tom, nuria]).await?;
    tom.message(&allotment, "The water is on again.").await?;

    Ok(vec![
        Place::new("Flat 12b", "private, encrypted", flat)
            .power(100)
            .tag(TagName::Favorite, Some(0.1)),
        Place::new("Lisbon in May", "encrypted, on the new server", lisbon)
            .tag(travel, None)
            .tag(TagName::Favorite, Some(0.2)),
        Place::new("Book circle", "made by Mara", books).power(AS_CREATOR).lost(CREATOR),
        Place::new("Allotment 7", "made by Mara, version 10", allotment).power(100),
    ])
}

async fn bird_club(people: &People) -> Result<Vec<Place>> {
    let People { old, tom, nuria, .. } = people;
    let club = meet(nuria, RoomSpec::space("Bird Club"), &[old, tom]).await?;

    let spec = RoomSpec::private("Sightings").within(&club);
    let sightings = meet(nuria, spec.power(old.user_id(), 100), &[old, tom]).await?;
    tom.message(&sightings, "Two terns over the reservoir this morning!").await?;

    let spec = RoomSpec::private("Excursions").within(&club).join_rule(JoinRuleKind::Restricted);
    let excursions = meet(nuria, spec, &[old, tom]).await?;
    nuria.message(&excursions, "We meet at the ferry at six. Bring something warm.").await?;

    let spec = RoomSpec::private("Board").within(&club).needs("invite", 50);
    let board = meet(nuria, spec, &[old]).await?;
    nuria.message(&board, "The minutes are in the shared folder.").await?;

    Ok(vec![
        Place::new("Bird Club", "space", club),
        Place::new("Sightings", "in the space", sightings).power(100),
        Place::new("Excursions", "in the space, for its members", excursions),
        Place::new("Board", "only moderators invite", board).out_of_reach(),
    ])
}

async fn public(people: &People, prefix: &str) -> Result<Vec<Place>> {
    let People { old, jonas, ayse, tom, nuria, .. } = people;
    let public =
        |name: &str, alias: &str| RoomSpec::public(name).alias(&format!("{prefix}{alias}"));

    let spec = public("Weekend hikers", "hikers").power(old.user_id(), 50);
    let hikers = visit(tom, spec, &[old, jonas, nuria]).await?;
    tom.message(&hikers, "Sunday: the ridge, if the weather holds.").await?;

    let cafe = visit(old, public("Repair café", "repair-cafe"), &[tom]).await?;
    tom.message(&cafe, "Does anybody have a soldering iron to spare?").await?;

    let sourdough = visit(ayse, public("Sourdough", "sourdough"), &[old]).await?;
    ayse.message(&sourdough, "Rye, day three: it smells of apples.").await?;

    let news = visit(nuria, public("City news", "city-news"), &[old, tom]).await?;
    nuria.message(&news, "The north bridge is closed until Monday.").await?;
    old.set_tag(&news, TagName::LowPriority, None).await?;

    Ok(vec![
        Place::new("Weekend hikers", "public, moderated by Mara", hikers).lost(MODERATOR),
        Place::new("Repair café", "public, made by Mara", cafe).power(AS_CREATOR).lost(CREATOR),
        Place::new("Sourdough", "public, on the new server", sourdough),
        Place::new("City news", "public", news).tag(TagName::LowPriority, None),
    ])
}

async fn chats(people: &People) -> Result<Vec<Place>> {
    let People { old, jonas, ayse, tom, .. } = people;

    let with_jonas = visit(old, RoomSpec::direct(jonas.user_id()).encrypted(), &[jonas]).await?;
    jonas.add_direct(old.user_id(), &with_jonas).await?;
    old.post(&with_jonas, "Did you take my umbrella?").await?;
    jonas.post(&with_jonas, "It took me.").await?;

    let with_ayse = visit(ayse, RoomSpec::direct(old.user_id()), &[old]).await?;
    old.add_direct(ayse.user_id(), &with_ayse).await?;
    ayse.message(&with_ayse, "When do you arrive?").await?;

    let with_tom = visit(old, RoomSpec::direct(tom.user_id()), &[tom]).await?;
    tom.add_direct(old.user_id(), &with_tom).await?;
    tom.message(&with_tom, "Thanks for the tomatoes!").await?;
    old.set_tag(&with_tom, TagName::Favorite, Some(0.3)).await?;

    Ok(vec![
        Place::new("Jonas", "direct chat, encrypted", with_jonas)
            .power(AS_CREATOR)
            .direct_with(jonas),
        Place::new("Ayşe", "direct chat, across servers", with_ayse)
            .power(AS_CREATOR)
            .direct_with(ayse),
        Place::new("Tom", "direct chat", with_tom)
            .power(AS_CREATOR)
            .direct_with(tom)
            .tag(TagName::Favorite, Some(0.3)),
    ])
}

/// What the new account has before the migration: a room that the old one is in too, tagged in its
/// own way, and a direct chat of its own.
async fn there_already(people: &People) -> Result<(Place, OwnedRoomId)> {
    let People { old, new, lena, .. } = people;
    let spec = RoomSpec::private("Family").power(new.user_id(), 50);
    let family = meet(lena, spec, &[old, new]).await?;
    lena.message(&family, "Grandma has a new phone. Be patient.").await?;
    old.set_tag(&family, TagName::Favorite, Some(0.4)).await?;
    new.set_tag(&family, TagName::Favorite, Some(0.9)).await?;
    let own = visit(new, RoomSpec::direct(lena.user_id()), &[lena]).await?;
    let place = Place::new("Family", "the new account is in it", family)
        .power(50)
        .tag(TagName::Favorite, Some(0.9));
    Ok((place, own))
}

/// A room that `host` makes and invites the others to.
async fn meet(host: &Account, spec: RoomSpec, guests: &[&Account]) -> Result<OwnedRoomId> {
    let spec = guests.iter().fold(spec, |spec, guest| spec.invite(guest.user_id()));
    visit(host, spec, guests).await
}

/// A room that `host` makes and the others join.
async fn visit(host: &Account, spec: RoomSpec, guests: &[&Account]) -> Result<OwnedRoomId> {
    let room = host.create_room(spec).await?;
    let via = [host.user_id().server_name().to_owned()];
    for guest in guests {
        guest.join_via((&*room).into(), &via).await?;
    }
    Ok(room)
}
