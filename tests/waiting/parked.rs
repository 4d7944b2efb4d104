//! Accounts whose reading ends the process again and again.

use std::time::Duration;

use tern::{
    clock::{Clock as _, HeldClock},
    homeserver::{Excess, Failure},
    migration::{Event, Phase},
};

use crate::{
    at,
    life::{Pair, begin, open, said},
    minutes, town,
    wire::Wire,
};

#[test]
fn a_survey_that_ended_the_process_three_times_is_parked_and_others_are_not() {
    let people = [Pair::of("mara"), Pair::of("nora")];
    let town = town(&[(&people[0], 0, 1), (&people[1], 0, 1)]);
    let wire = Wire::new(HeldClock::new(at(Duration::ZERO)), town);
    let folder = tempfile::tempdir().unwrap();
    // As if the process ended over what would be answered.
    wire.hang("/sync");
    for _ in 0..3 {
        wire.run(async {
            let (migrations, _moderation) = open(&wire, folder.path()).await;
            migrations.resume_all();
            for pair in &people {
                begin(&migrations, pair).await;
            }
            wire.clock.sleep(minutes(1)).await;
            for pair in &people {
                assert_eq!(migrations.of(&pair.old).unwrap().0.phase, Phase::Surveying);
            }
        });
    }
    wire.hang("/none");
    wire.run(async {
        let (migrations, _moderation) = open(&wire, folder.path()).await;
        let mut notices = migrations.notices().unwrap();
        migrations.resume_all();
        let mut told = Vec::new();
        let mut planned = Vec::new();
        while told.len() < 2 || planned.len() < 2 {
            let notice = notices.recv().await.unwrap();
            match notice.event {
                Event::SurveyFailed { reason, .. } => told.push((notice.to, reason)),
                Event::PlanReady => planned.push(notice.to),
                _ => {}
            }
        }
        let parked = people.iter().find(|pair| told.iter().any(|(to, _)| *to == pair.old)).unwrap();
        let reason = Failure::TooMuch(Excess::Restarts { times: 3 });
        let both = [(parked.old.clone(), reason.clone()), (parked.new.clone(), reason.clone())];
        assert_eq!(told, both);
        assert!(!planned.contains(&parked.old), "{planned:?}");
        assert_eq!(migrations.of(&parked.old).unwrap().0.phase, Phase::Failed(reason));
        // Nothing is tried by itself; `plan` does.
        migrations.plan(&said("plan", &parked.old)).await.unwrap();
        while notices.recv().await.unwrap().event != Event::PlanReady {}
    });
}
