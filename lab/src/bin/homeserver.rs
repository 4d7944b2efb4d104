//! Runs a homeserver until interrupted: prints the base URL of its client-server API.

use std::{
    future,
    io::{self, Write},
};

use lab::{Lab, Options};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let homeserver = Lab::new()?.homeserver(&Options::default()).await?;
    writeln!(io::stdout(), "{}", homeserver.url())?;
    future::pending().await
}
