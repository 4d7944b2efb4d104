//! The bot's own process: the library with a store, and everybody's words.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rand::{SeedableRng as _, rngs::StdRng};
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};
use tern::{
    access::Login,
    appservice::Appservices,
    clock::{Clock as _, HeldClock, Timestamp},
    homeserver::Transport,
    migration::{Event, Migrations, Notice, Outcome, Phase, ReportRow, Said, Settings},
    secret::Secret,
    store::Store,
};

use tokio::sync::mpsc::UnboundedReceiver;

use crate::{people::Pair, wire::Wire};

/// What one process found out.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Findings {
    /// The simulated time when it ended, in microseconds since 1970.
    pub(crate) time: i64,
    /// How long it took from opening the store until commands would have been answered.
    pub(crate) opened: Duration,
    /// How long each migration took, of those that are finished.
    pub(crate) took: Vec<Duration>,
    /// The most memory that the process ever had, in bytes.
    pub(crate) memory: u64,
    pub(crate) requests: usize,
    /// How many rooms the new accounts did not get into.
    pub(crate) not_joined: usize,
}

/// Moves the first `accounts` accounts, from `time` on; ends as by a kill after `kill_after`.
pub(crate) fn run(
    url: &str,
    path: &Path,
    accounts: usize,
    time: i64,
    kill_after: Option<Duration>,
) -> Result<()> {
    let wire = Wire::new(HeldClock::new(Timestamp::from_microsecond(time)?))?;
    wire.run(live(&wire, url, path, accounts, kill_after))?
}

#[expect(clippy::disallowed_methods, reason = "real time is what is measured here")]
async fn live(
    wire: &Arc<Wire>,
    url: &str,
    path: &Path,
    accounts: usize,
    kill_after: Option<Duration>,
) -> Result<()> {
    let began = Instant::now();
    let migrations = open(wire, url, path).await?;
    let notices = migrations.notices()?;
    migrations.resume_all();
    if let Ok((migration, _)) = migrations.of(&Pair::of(0).old) {
        migrations.progress(migration.id)?;
    }
    let mut findings = Findings { opened: began.elapsed(), ..Findings::default() };
    let everybody = async {
        for number in 0..accounts {
            begin(&migrations, &Pair::of(number)).await?;
        }
        finish(&migrations, notices, accounts).await
    };
    let killed = async {
        match kill_after {
            Some(after) => wire.clock.sleep(after).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        done = everybody => done?,
        () = killed => {}
    }
    for number in 0..accounts {
        let Ok((migration, _)) = migrations.of(&Pair::of(number).old) else { continue };
        let Some((went, ended)) = migration.went.zip(migration.ended) else { continue };
        findings.took.push(Duration::try_from(ended.duration_since(went))?);
        let report = migrations.current_report(migration.id)?;
        let joined = |row: &&ReportRow| row.outcome != Outcome::Joined;
        findings.not_joined += report.rooms.iter().filter(joined).count();
    }
    findings.time = wire.clock.now().as_microsecond();
    findings.requests = wire.requests.load(Ordering::Relaxed);
    findings.memory = peak_memory()?;
    fs::write(path.join("findings.json"), serde_json::to_vec(&findings)?)?;
    // As a kill would: nothing is closed.
    process::exit(0)
}

async fn open(wire: &Arc<Wire>, url: &str, path: &Path) -> Result<Migrations> {
    let mut rng = StdRng::seed_from_u64(1);
    let store = Store::open(path, &path.join("key"), &mut rng)?.witnessed(wire.clone());
    let mut configured = BTreeMap::new();
    for name in [lab::sim::OLD, lab::sim::NEW] {
        configured.insert(name.try_into()?, format!("{url}/{name}").parse()?);
    }
    let clock = wire.clock.clone();
    let transport = Transport::carried(wire.clone(), clock.clone(), rng, configured);
    transport.pacing().keep_in(&store).await?;
    let settings = Settings {
        consent_expires: Duration::from_secs(86_400),
        consent_keep: Duration::from_secs(7 * 86_400),
        quiet_after: Duration::from_secs(31_536_000),
    };
    let bot = "@tern:old.example".try_into()?;
    Ok(Migrations::open(bot, settings, store, transport, Appservices::default(), clock)?)
}

/// Says everything up to `login` that was not said before.
async fn begin(migrations: &Migrations, pair: &Pair) -> Result<()> {
    if migrations.of(&pair.old).is_ok() {
        return Ok(());
    }
    migrations.start(&said("start", &pair.old)?, &pair.new).await?;
    migrations.accept(&said("accept", &pair.new)?, &pair.old).await?;
    for (user, token) in [(&pair.old, &pair.old_token), (&pair.new, &pair.new_token)] {
        let token = Login::Token(Secret::from(token.clone()));
        migrations.login(&said("login", user)?, token).await?;
    }
    Ok(())
}

/// Says `go` to each plan, until all are finished.
async fn finish(
    migrations: &Migrations,
    mut notices: UnboundedReceiver<Notice>,
    accounts: usize,
) -> Result<()> {
    let is_over = |number: &usize| {
        let migration = migrations.of(&Pair::of(*number).old);
        migration.is_ok_and(|(migration, _)| migration.phase == Phase::Finished)
    };
    let mut finished = (0..accounts).filter(is_over).count();
    while finished < accounts {
        let notice = notices.recv().await.context("there are no more notices")?;
        migrations.delivered(notice.id).await?;
        let migration = migrations.get(notice.migration)?;
        if notice.to != migration.old.user_id {
            continue;
        }
        match notice.event {
            Event::PlanReady => {
                let plan = migration.plan_id();
                migrations.go(&said("go", &notice.to)?, Some(plan)).await?;
            }
            Event::Finished => finished += 1,
            Event::SurveyFailed { reason, .. } => ensure!(false, "a survey failed: {reason}"),
            _ => {}
        }
    }
    Ok(())
}

fn said(word: &str, by: &OwnedUserId) -> Result<Said> {
    let event_id = format!("${word}-{}", by.localpart()).try_into()?;
    let room_id = format!("!{}:{}", by.localpart(), by.server_name()).try_into()?;
    Ok(Said { by: by.clone(), room_id, event_id, sent: tern::clock::Timestamp::UNIX_EPOCH })
}

fn peak_memory() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.context("the system does not tell")?.parse::<u64>()? * 1024)
}
