//! One bot that moves a thousand accounts of two hundred rooms each at once, on a simulated pair of
//! homeservers with Synapse's limits and a held clock.
//!
//! The homeservers, and the bot, are a process of their own each, so that the memory of the bot is
//! its own: the most that the system ever gave it. First one account is moved alone, then all of
//! them; halfway the process ends as by a kill, and another goes on with the same store.
//!
//! `cargo bench-fleet` takes 1,000 accounts. `TERN_FLEET_ACCOUNTS=100` takes as many as it says.

mod bot;
mod people;
mod wire;

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use self::bot::Findings;

const ROOMS: usize = 200;

/// What is to be reached.
const MOST_MEMORY: u64 = 300_000_000;
const LONGEST_OPENING: Duration = Duration::from_secs(2);
const SLOWEST: f64 = 1.2;

/// Synapse's limit of invites of one account, in seconds from one to the next, and how many at once.
const INVITE_INTERVAL: f64 = 1.0 / 0.003;
const INVITE_BURST: f64 = 5.0;

fn main() -> Result<ExitCode> {
    let argument = |name: &str| env::var(name).with_context(|| format!("{name} is not set"));
    match env::var("TERN_FLEET_ROLE").ok().as_deref() {
        Some("homeservers") => homeservers(argument("TERN_FLEET_ACCOUNTS")?.parse()?),
        Some(_) => {
            let kill_after: u64 = argument("TERN_FLEET_KILL_AFTER")?.parse()?;
            bot::run(
                &argument("TERN_FLEET_URL")?,
                argument("TERN_FLEET_PATH")?.as_ref(),
                argument("TERN_FLEET_ACCOUNTS")?.parse()?,
                argument("TERN_FLEET_TIME")?.parse()?,
                (kill_after > 0).then(|| Duration::from_secs(kill_after)),
            )?;
            Ok(ExitCode::SUCCESS)
        }
        None => conduct(),
    }
}

#[tokio::main]
async fn homeservers(accounts: usize) -> Result<ExitCode> {
    let served = people::settle(accounts, ROOMS).serve().await?;
    writeln!(io::stdout(), "{}", served.url())?;
    // Until whoever started it is gone.
    tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(ExitCode::SUCCESS)
}

/// Homeservers that run until this is dropped.
struct Homeservers {
    url: String,
    process: Child,
}

impl Homeservers {
    fn start(accounts: usize) -> Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .env("TERN_FLEET_ROLE", "homeservers")
            .env("TERN_FLEET_ACCOUNTS", accounts.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut url = String::new();
        let output = process.stdout.take().context("it has an output")?;
        BufReader::new(output).read_line(&mut url)?;
        Ok(Self { url: url.trim().to_owned(), process })
    }

    /// One life of the bot.
    fn bot(&self, path: &Path, accounts: usize, time: i64, kill_after: u64) -> Result<Findings> {
        let status = Command::new(env::current_exe()?)
            .env("TERN_FLEET_ROLE", "bot")
            .env("TERN_FLEET_URL", &self.url)
            .env("TERN_FLEET_PATH", path)
            .env("TERN_FLEET_ACCOUNTS", accounts.to_string())
            .env("TERN_FLEET_TIME", time.to_string())
            .env("TERN_FLEET_KILL_AFTER", kill_after.to_string())
            .status()?;
        ensure!(status.success(), "the bot ended with {status}");
        Ok(serde_json::from_slice(&fs::read(path.join("findings.json"))?)?)
    }
}

impl Drop for Homeservers {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn conduct() -> Result<ExitCode> {
    let accounts = env::var("TERN_FLEET_ACCOUNTS").map_or(Ok(1000), |number| number.parse())?;
    let beginning = people::BEGINNING * 1_000_000;
    let alone = {
        let folder = tempfile::tempdir()?;
        Homeservers::start(1)?.bot(folder.path(), 1, beginning, 0)?
    };
    let alone = alone.took.first().copied().context("one alone did not finish")?;
    let folder = tempfile::tempdir()?;
    let homeservers = Homeservers::start(accounts)?;
    let half = alone.as_secs() / 2;
    let first = homeservers.bot(folder.path(), accounts, beginning, half)?;
    let second = homeservers.bot(folder.path(), accounts, first.time, 0)?;
    ensure!(second.took.len() == accounts, "{} of {accounts} finished", second.took.len());
    ensure!(second.not_joined == 0, "{} rooms were not joined", second.not_joined);

    let hours = |time: f64| format!("{:.2} h", time / 3600.0);
    let slowest = second.took.iter().max().copied().unwrap_or_default();
    let ratio = slowest.as_secs_f64() / alone.as_secs_f64();
    let memory = first.memory.max(second.memory);
    #[expect(clippy::cast_precision_loss, reason = "a few hundred rooms")]
    let bound = ((ROOMS / 2) as f64 - INVITE_BURST) * INVITE_INTERVAL;
    let size = size_of(folder.path())?;
    let mut out = io::stdout();
    writeln!(out, "{accounts} accounts of {ROOMS} rooms each\n")?;
    let mut row = |what: &str, measured: String, goal: &str, met: Option<bool>| {
        let met = met.map_or("", |met| if met { "met" } else { "MISSED" });
        writeln!(out, "{what:<42} {measured:>12}   {goal:<14} {met}")
    };
    row("", "measured".into(), "goal", None)?;
    row("least that the token buckets allow", hours(bound), "", None)?;
    row("one migration alone", hours(alone.as_secs_f64()), "", None)?;
    row("slowest of all", hours(slowest.as_secs_f64()), "", None)?;
    row(
        "slowest of all, beside one alone",
        format!("{ratio:.2}"),
        "at most 1.2",
        Some(ratio <= SLOWEST),
    )?;
    row("peak memory of the bot", megabytes(memory), "under 300 MB", Some(memory < MOST_MEMORY))?;
    let resumed = second.opened;
    row(
        "from a kill to the first answer",
        format!("{} ms", resumed.as_millis()),
        "under 2 s",
        Some(resumed < LONGEST_OPENING),
    )?;
    row("store on disk", megabytes(size), "", None)?;
    row("requests", (first.requests + second.requests).to_string(), "", None)?;
    let met = ratio <= SLOWEST && memory < MOST_MEMORY && resumed < LONGEST_OPENING;
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

/// The bytes of all files in a folder.
fn size_of(folder: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        size += if metadata.is_dir() { size_of(&entry.path())? } else { metadata.len() };
    }
    Ok(size)
}
