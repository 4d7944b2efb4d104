//! What becomes of a mistake in the program: a task that panics is begun again.

use std::time::Duration;

use tern::{
    clock::HeldClock,
    migration::{Event, Phase},
};

use crate::{
    at,
    life::{Chat, Pair, begin, live, open, said as says},
    minutes, said, town,
    wire::Wire,
};

#[test]
fn a_migration_that_panics_is_gone_on_with() {
    let mara = Pair::of("mara");
    let wire = Wire::new(HeldClock::new(at(Duration::ZERO)), town(&[(&mara, 1, 1)]));
    let folder = tempfile::tempdir().unwrap();
    let chat = Chat::default();
    // While rooms are joined.
    wire.stumble("/join/", 2);
    wire.run(live(&wire, folder.path(), std::slice::from_ref(&mara), &chat, at(minutes(30))));
    assert_eq!(wire.simulation.rooms_of(mara.new.as_str()), 1);
    let events: Vec<_> = chat.lock().unwrap().values().map(|(_, event)| event.clone()).collect();
    assert!(events.contains(&Event::Finished) && !events.contains(&Event::Stumbled), "{events:?}");
}

#[test]
fn one_that_panics_again_and_again_is_paused_and_told_and_resumed_when_that_is_said() {
    let (mara, nora) = (Pair::of("mara"), Pair::of("nora"));
    let wire = Wire::new(HeldClock::new(at(Duration::ZERO)), town(&[(&mara, 0, 1), (&nora, 0, 1)]));
    let folder = tempfile::tempdir().unwrap();
    wire.run(async {
        let (migrations, _moderation) = open(&wire, folder.path()).await;
        let mut notices = migrations.notices().unwrap();
        wire.stumble("/sync", usize::MAX);
        begin(&migrations, &mara).await;
        let mut told = Vec::new();
        while told.len() < 2 {
            let notice = notices.recv().await.unwrap();
            if notice.event == Event::Stumbled {
                told.push(notice.to);
            }
        }
        assert_eq!(told, [mara.old.clone(), mara.new.clone()]);
        let phase = || migrations.of(&mara.old).unwrap().0.phase;
        assert_eq!(phase(), Phase::Paused(Box::new(Phase::Surveying)));

        wire.stumble("/sync", 0);
        migrations.resume(&says("resume", &mara.old)).await.unwrap();
        begin(&migrations, &nora).await;
        let mut ready = 0;
        while ready < 4 {
            ready += usize::from(notices.recv().await.unwrap().event == Event::PlanReady);
        }
        assert_eq!(phase(), Phase::AwaitingGo);
    });
}

#[test]
fn moderators_are_asked_once_even_after_panics() {
    let mara = Pair::of("mara");
    let wire = Wire::new(HeldClock::new(at(Duration::ZERO)), town(&[(&mara, 2, 0)]));
    let folder = tempfile::tempdir().unwrap();
    let chat = Chat::default();
    wire.stumble("/send/m.room.message/", 5);
    wire.run(live(&wire, folder.path(), &[mara], &chat, at(minutes(30))));
    assert_eq!(said(&wire.simulation), [("asked".to_owned(), 2)].into());
}
