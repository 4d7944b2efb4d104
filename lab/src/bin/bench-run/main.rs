//! `cargo bench-open`, `cargo bench-limits` and `cargo bench-appservice`: how long a migration takes,
//! beside the least that the homeservers allow, and beside another way. `cargo bench-chat`: how soon
//! the bot answers meanwhile.
//!
//! Everything is real: the homeservers, the bot, and the chat in which it is told to go.

mod appservice;
mod chat;
mod floor;
mod limits;
mod moving;
mod open;
mod table;
mod town;

use std::{
    io::{Write, stderr, stdout},
    process::ExitCode,
};

use anyhow::Result;
use clap::{Parser, Subcommand};
use lab::{Lab, build, install};

/// Measure how long a migration takes.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum What {
    /// Without limits, beside the same invitations and joins sent by plain connections.
    Open {
        /// How many rooms, half of them public and half private.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(20..))]
        rooms: u32,
    },
    /// As an application service, beside the same account moved by `login`.
    Appservice {
        /// How many rooms, half of them public and half private.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(20..))]
        rooms: u32,
    },
    /// With limits, beside the least time that they allow.
    Limits {
        /// How many rooms, half of them public and half private.
        #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u32).range(20..))]
        rooms: u32,
    },
    /// How soon `status` is answered while many migrations run.
    Chat {
        /// How many.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        migrations: u32,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match bench(Arguments::parse().what).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Where standard error is gone, nobody reads it.
            let _ = writeln!(stderr(), "\nThe benchmark failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all goals were met.
async fn bench(what: What) -> Result<bool> {
    say("Building Tern")?;
    let tern = build::tern(["--bin", "bench-run"]).await?;
    if !install::has_synapse()? {
        say("Installing Synapse, the homeserver, below target/lab (once, about 30 s)")?;
        install::synapse().await?;
    }
    let lab = Lab::new()?;
    let table = match what {
        What::Open { rooms } => open::measure(&lab, &tern, rooms as usize).await,
        What::Appservice { rooms } => appservice::measure(&lab, &tern, rooms as usize).await,
        What::Limits { rooms } => limits::measure(&lab, &tern, rooms as usize).await,
        What::Chat { migrations } => chat::measure(&lab, &tern, migrations as usize).await,
    };
    if table.is_err() {
        // Says where the logs are when it is dropped.
        lab.keep();
    }
    let table = table?;
    write!(stdout(), "\n{table}")?;
    Ok(table.all_met())
}

fn say(what: &str) -> Result<()> {
    Ok(writeln!(stdout(), "{what}")?)
}
