//! Rooms are as they were asked for.

use lab::{RoomSpec, pair};
use ruma::{
    RoomVersionId,
    events::{
        room::{member::MembershipState, power_levels::UserPowerLevel},
        tag::TagName,
    },
    int,
    room::JoinRuleKind,
};

#[tokio::test]
async fn power_is_as_given_and_the_creator_keeps_theirs_in_old_and_new_room_versions() {
    let pair = pair().await.unwrap();
    let olga = pair.old.account("olga").await.unwrap();
    let paul = pair.new.account("paul").await.unwrap();
    let spec = RoomSpec::private("Council")
        .invite(paul.user_id())
        .power(paul.user_id(), 50)
        .needs("invite", 60);

    let old = olga.create_room(spec.clone().version(RoomVersionId::V10)).await.unwrap();
    let new = olga.create_room(spec).await.unwrap();

    assert_eq!(olga.room_version(&old).await.unwrap(), RoomVersionId::V10);
    assert_eq!(olga.room_version(&new).await.unwrap(), RoomVersionId::V12);
    let power = async |room, user| olga.power_level(room, user).await.unwrap();
    assert_eq!(power(&old, olga.user_id()).await, UserPowerLevel::Int(int!(100)));
    assert_eq!(power(&new, olga.user_id()).await, UserPowerLevel::Infinite);
    for room in [&old, &new] {
        assert_eq!(power(room, paul.user_id()).await, UserPowerLevel::Int(int!(50)));
        let levels = olga.state(room, "m.room.power_levels", "").await.unwrap().unwrap();
        assert_eq!(levels["invite"], 60);
        paul.join(room).await.unwrap();
    }
}

#[tokio::test]
async fn members_of_a_space_may_join_its_restricted_rooms() {
    let pair = pair().await.unwrap();
    let quinn = pair.old.account("quinn").await.unwrap();
    let rosa = pair.old.account("rosa").await.unwrap();
    let space = quinn.create_room(RoomSpec::space("Coast").invite(rosa.user_id())).await.unwrap();
    let spec = RoomSpec::private("Cliff").within(&space).join_rule(JoinRuleKind::Restricted);
    let room = quinn.create_room(spec).await.unwrap();

    rosa.join(&room).await.unwrap_err();
    rosa.join(&space).await.unwrap();
    rosa.join(&room).await.unwrap();

    assert_eq!(rosa.joined_rooms().await.unwrap(), [space.clone(), room.clone()].into());
    let child = rosa.state(&space, "m.space.child", room.as_str()).await.unwrap();
    assert!(child.is_some());
}

#[tokio::test]
async fn tags_direct_chats_and_memberships_are_found_as_they_were_set() {
    let pair = pair().await.unwrap();
    let sven = pair.old.account("sven").await.unwrap();
    let tess = pair.old.account("tess").await.unwrap();

    let room = sven.create_room(RoomSpec::direct(tess.user_id())).await.unwrap();
    sven.set_tag(&room, TagName::Favorite, Some(0.25)).await.unwrap();
    let member = async || sven.member(&room, tess.user_id()).await.unwrap();
    assert_eq!(member().await, Some(MembershipState::Invite));
    tess.leave(&room).await.unwrap();

    assert_eq!(member().await, Some(MembershipState::Leave));
    assert_eq!(sven.tags(&room).await.unwrap()[&TagName::Favorite].order, Some(0.25));
    assert_eq!(sven.direct().await.unwrap()[tess.user_id()], [room].into());
    assert!(tess.direct().await.unwrap().is_empty());
}
