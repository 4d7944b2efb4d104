//! `cargo bench-survey`: what it takes to survey a large account, beside asking room by room.
//!
//! Everything is real: the homeservers, the bot, and the chat in which it is told to begin. The
//! requests are counted in the homeservers' own access logs, by account and user agent.

mod crowd;
mod memory;
mod room_by_room;
mod rooms;
mod survey;
mod table;

use std::{
    io::{Write, stderr, stdout},
    path::Path,
    process::ExitCode,
};

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use lab::{Lab, Options, build, install};
use tokio::time::Instant;

use self::{crowd::Crowd, room_by_room::RoomByRoom, survey::Survey};

/// Measure what the survey of a large account takes, beside asking room by room.
///
/// Fails when a survey takes more requests the more rooms there are, or when the person hears
/// nothing for two seconds.
#[derive(Debug, Parser)]
#[command(name = "cargo bench-survey", bin_name = "cargo bench-survey --")]
struct Arguments {
    /// How many rooms the old account is in; the survey is measured with a tenth of them, too.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(200..))]
    rooms: u32,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What runs in a process of its own, so that its memory can be told apart.
#[derive(Debug, Subcommand)]
enum Part {
    /// Asks room by room, as the accounts on standard input.
    #[command(hide = true)]
    RoomByRoom,
}

/// What was measured with one number of rooms.
#[derive(Default)]
struct Measured {
    rooms: usize,
    survey: Survey,
    room_by_room: RoomByRoom,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.part {
        Some(Part::RoomByRoom) => room_by_room::ask().await,
        None => bench(arguments.rooms as usize).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is gone, nobody reads it.
            let _ = writeln!(stderr(), "\nThe benchmark failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(rooms: usize) -> Result<()> {
    say("Building Tern")?;
    let tern = build::tern(["--bin", "bench-survey"]).await?;
    if !install::has_synapse()? {
        say("Installing Synapse, the homeserver, below target/lab (once, about 30 s)")?;
        install::synapse().await?;
    }
    let lab = Lab::new()?;
    let measured = measure(&lab, &tern, rooms).await;
    if measured.is_err() {
        // Says where the logs are when it is dropped.
        lab.keep();
    }
    let [few, many] = measured?;
    write!(stdout(), "\n{}", table::of(&few, &many))?;
    judge(&few, &many)
}

/// Measures with a tenth of the rooms, then with all. The survey comes first each time, so that
/// what it made the homeserver read into its caches is there for asking room by room.
async fn measure(lab: &Lab, tern: &Path, rooms: usize) -> Result<[Measured; 2]> {
    say("Starting two homeservers")?;
    let pair = lab.pair(&Options::default()).await?;
    let crowd = Crowd::come(&pair).await?;
    let few = rooms::whole_blocks(rooms / 10);
    let mut made = 0;
    let mut measure = async |rooms| {
        say(&format!("Making {} rooms", rooms - made))?;
        let begun = Instant::now();
        rooms::make(&crowd, made..rooms).await?;
        say(&format!("  made in {} s", begun.elapsed().as_secs()))?;
        made = rooms;
        say(&format!("Surveying {rooms} rooms"))?;
        let survey = survey::measure(&pair, tern, &crowd).await?;
        say(&format!("Asking for {rooms} rooms one by one"))?;
        let room_by_room = room_by_room::measure(&pair, &crowd).await?;
        anyhow::Ok(Measured { rooms, survey, room_by_room })
    };
    Ok([measure(few).await?, measure(rooms).await?])
}

fn judge(few: &Measured, many: &Measured) -> Result<()> {
    let (before, after) = (few.survey.requests.count(), many.survey.requests.count());
    ensure!(
        after <= before,
        "the requests of a survey grow with the rooms: {before} with {}, {after} with {}",
        few.rooms,
        many.rooms
    );
    let heard = few.survey.first_answer.max(many.survey.first_answer);
    ensure!(
        heard <= survey::PATIENCE_OF_PEOPLE,
        "the person heard nothing for {:.1} s",
        heard.as_secs_f64()
    );
    Ok(())
}

fn say(what: &str) -> Result<()> {
    Ok(writeln!(stdout(), "{what}")?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn measured(requests: usize, first_answer: Duration) -> Measured {
        let mut measured = Measured::default();
        measured.survey.requests.by_endpoint.insert("GET /sync".to_owned(), requests);
        measured.survey.first_answer = first_answer;
        measured
    }

    #[test]
    fn requests_that_grow_with_the_rooms_are_a_failure() {
        let soon = Duration::from_millis(500);
        assert!(judge(&measured(2, soon), &measured(2, soon)).is_ok());
        assert!(judge(&measured(2, soon), &measured(3, soon)).is_err());
    }

    #[test]
    fn silence_is_a_failure() {
        let (soon, late) = (Duration::from_millis(500), Duration::from_millis(2100));
        assert!(judge(&measured(2, soon), &measured(2, late)).is_err());
    }
}
