//! The town is as a person's life would leave it, and what it checks can fail.

use lab::{Town, pair, town::People};

#[tokio::test]
async fn before_a_migration_the_new_account_has_what_is_its_own_and_nothing_else() {
    let pair = pair().await.unwrap();
    let town = Town::settle(pair, "before-").await.unwrap();
    let People { old, new, .. } = &town.people;

    let mut holds = Vec::new();
    for place in &town.places {
        assert!(old.joined_rooms().await.unwrap().contains(&place.room), "{place:?}");
        if place.look(new).await.unwrap().hold() {
            holds.push(place.name.as_str());
        }
    }

    assert_eq!(holds, ["Board", "Family"], "not to be joined, and joined already");
    assert!(town.kept().await.unwrap().iter().all(|kept| kept.holds));
}

#[tokio::test]
async fn what_is_taken_from_an_account_is_found() {
    let pair = pair().await.unwrap();
    let town = Town::settle(pair, "taken-").await.unwrap();
    town.people.old.leave(&town.places[0].room).await.unwrap();
    town.people.new.set_account_data("m.direct", &serde_json::json!({})).await.unwrap();

    assert!(town.kept().await.unwrap().iter().all(|kept| !kept.holds));
}
