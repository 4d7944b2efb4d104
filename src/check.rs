//! `tern check`: says in plain words what is wrong with a configuration, before the bot is started
//! with it.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
};

use ruma::ServerName;
use tern::{
    config::{Config, Entrance, Storage},
    homeserver::{LoginFlow, Server, Transport},
    private::SecretFile,
    web::Listener,
};
use tokio_util::sync::CancellationToken;

mod registrations;

/// Writes one line for each thing that was checked. Whether all of them are well.
pub(crate) async fn check(
    config: &Config,
    transport: &Transport,
    out: &mut impl Write,
) -> io::Result<bool> {
    let mut well = true;
    let mut tell = |what: &str, result: Result<String, String>| {
        well &= result.is_ok();
        match result {
            Ok(found) => writeln!(out, "ok     {what}: {found}"),
            Err(wrong) => writeln!(out, "WRONG  {what}: {wrong}"),
        }
    };
    let own = config.bot.user_id.server_name();
    match &config.bot.entrance {
        Entrance::Password(_) => tell("bot", login(transport, own).await)?,
        // Whether it gets in is seen below: it is the own user of that registration.
        Entrance::Appservice(_) => {
            tell("bot", reach(transport, own).await.map(|server| server.base_url().to_string()))?;
        }
    }
    for name in config.homeservers.keys().filter(|name| *name != own) {
        let found = reach(transport, name).await.map(|server| server.base_url().to_string());
        tell(&format!("homeservers: {name}"), found)?;
    }
    tell("storage", storage(&config.storage))?;
    let key_file = config.storage.key_file.clone();
    let key_file = SecretFile { key: "storage.key_file".to_owned(), path: key_file };
    let exposed: Vec<_> =
        config.secret_files.iter().chain([&key_file]).filter_map(SecretFile::is_exposed).collect();
    let stop = CancellationToken::new();
    let answering = answer_pings(config, &stop).await;
    for appservice in config.appservices.iter() {
        let what = format!("appservices: {}", appservice.server());
        for found in registrations::check(transport, appservice, config).await {
            tell(&what, found)?;
        }
    }
    stop.cancel();
    if let Some(wrong) = answering {
        tell("web", wrong)?;
    }
    // The bot runs all the same, and in a container nobody else may be there.
    for exposed in exposed {
        writeln!(out, "CARE   {exposed}")?;
    }
    Ok(well)
}

/// Listens for homeservers, which are asked to reach the bot, until `stop`. Says what came of that.
async fn answer_pings(config: &Config, stop: &CancellationToken) -> Option<Result<String, String>> {
    if config.appservices.is_empty() {
        return None;
    }
    let address = config.web.listen;
    Some(match Listener::for_pings(address, &config.appservices).await {
        Ok(listener) => {
            tokio::spawn(listener.serve(stop.clone()));
            Ok(format!("{address} can be listened on"))
        }
        Err(error) if error.is_taken() => {
            Ok(format!("something listens on {address} already, which should be Tern"))
        }
        Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
    })
}

async fn reach(transport: &Transport, name: &ServerName) -> Result<Server, String> {
    transport.discover(name).await.map_err(|error| error.to_string())
}

/// Whether the bot could log in, as far as can be seen without doing so.
async fn login(transport: &Transport, name: &ServerName) -> Result<String, String> {
    let server = reach(transport, name).await?;
    let url = server.base_url();
    let flows = transport
        .login_flows(&server)
        .await
        .map_err(|failure| format!("{url} does not say how to log in: {failure}"))?;
    if flows.iter().any(|flow| matches!(flow, LoginFlow::Password(_))) {
        Ok(format!("{url} takes passwords"))
    } else {
        Err(format!("{url} does not take passwords, so bot.password is of no use"))
    }
}

/// Whether the directory, or the nearest one above it if it is not made yet, can be written.
fn storage(storage: &Storage) -> Result<String, String> {
    let path = &storage.path;
    let is_there = |dir: &&Path| !dir.as_os_str().is_empty() && dir.exists();
    let nearest = path.ancestors().find(is_there).unwrap_or(Path::new("."));
    let wrong = |error| format!("storage.path {} cannot be written: {error}", path.display());
    try_writing(nearest).map_err(wrong)?;
    match fs::metadata(&storage.key_file) {
        Ok(_) => fs::read(&storage.key_file).map(drop).map_err(|error| {
            format!("storage.key_file {} cannot be read: {error}", storage.key_file.display())
        })?,
        // It is made on first start.
        Err(_) if !path.join("sled").exists() => {}
        Err(error) => {
            return Err(format!("storage.key_file {}: {error}", storage.key_file.display()));
        }
    }
    Ok(format!("{} can be written", path.display()))
}

fn try_writing(dir: &Path) -> io::Result<()> {
    let probe = dir.join(".tern-check");
    OpenOptions::new().write(true).create(true).truncate(true).open(&probe)?;
    fs::remove_file(probe)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn storage_in(dir: &TempDir) -> Storage {
        let path = dir.path().join("not/yet/made");
        Storage { key_file: path.join("key"), path }
    }

    #[test]
    fn checking_a_directory_that_is_not_made_yet_leaves_no_trace() {
        let dir = TempDir::new().unwrap();
        storage(&storage_in(&dir)).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_named_with_its_key() {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("not"), "a directory").unwrap();
        let wrong = storage(&storage_in(&dir)).unwrap_err();
        assert!(wrong.starts_with("storage.path ") && wrong.contains("/not/yet/made "), "{wrong}");
    }

    #[test]
    fn a_store_without_its_key_is_told() {
        let dir = TempDir::new().unwrap();
        let storage_keys = storage_in(&dir);
        fs::create_dir_all(storage_keys.path.join("sled")).unwrap();
        let wrong = storage(&storage_keys).unwrap_err();
        assert!(wrong.starts_with("storage.key_file "), "{wrong}");
    }
}
