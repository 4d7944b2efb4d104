//! `cargo demo`: Mara moves from one Matrix account to another, on two real homeservers, by
//! chatting with the real bot. Afterwards the homeservers are asked whether it is all there.

// What a client does is many futures deep.
#![recursion_limit = "256"]

mod outcome;
mod said;
mod screen;
mod script;
mod set;
mod stage;

use std::{
    io::{Write, stderr},
    process::ExitCode,
};

use anyhow::Result;
use clap::Parser;
use lab::{Lab, build, install};
use tokio::{signal, time::Instant};

use self::{screen::Screen, set::Set};

/// Watch Tern move a person from one Matrix account to another.
///
/// Starts two homeservers on this machine, fills them with people and rooms, starts Tern, and chats
/// with it from both accounts of the person who moves. Then asks the homeservers for the outcome.
#[derive(Debug, Parser)]
#[command(name = "cargo demo", bin_name = "cargo demo --")]
struct Arguments {
    /// Leave it all running afterwards, and say how to log in with any client.
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Where standard error is gone, nobody reads it.
            let _ = writeln!(stderr(), "\nThe demonstration failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything is where it should be.
async fn run(arguments: &Arguments) -> Result<bool> {
    let mut screen = Screen::new();
    screen.title("Tern moves Mara from one Matrix account to another")?;
    screen.doing("Building Tern")?;
    let tern = build::tern(["--example", "demo"]).await?;
    if !install::has_synapse()? {
        screen.doing("Installing Synapse, the homeserver, below target/lab (once, about 30 s)")?;
        install::synapse().await?;
    }
    let lab = Lab::new()?;
    let complete = show(&lab, &tern, screen, arguments.keep).await;
    if !complete.as_ref().is_ok_and(|complete| *complete) {
        // Says where the logs are when it is dropped.
        lab.keep();
    }
    complete
}

async fn show(lab: &Lab, tern: &std::path::Path, mut screen: Screen, keep: bool) -> Result<bool> {
    let begun = Instant::now();
    let set = Set::build(lab, tern, &mut screen).await?;
    let (mut screen, moved) = script::play(&set, screen).await;
    let complete = match moved {
        Ok(moved) => outcome::show(&set, &moved, &mut screen).await,
        Err(error) => Err(error),
    };
    match &complete {
        Ok(true) => screen.line(&format!("Mara has moved, in {} s.", begun.elapsed().as_secs()))?,
        Ok(false) => screen.line("Not everything is as it should be.")?,
        Err(error) if keep => screen.line(&format!("The demonstration failed: {error:#}"))?,
        Err(_) => {}
    }
    if keep {
        set.tell_how_to_log_in(&mut screen)?;
        signal::ctrl_c().await?;
    }
    complete
}
