//! What a homeserver is told in its configuration.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use ruma::{OwnedServerName, serde::Base64};
use serde_json::{Map, Value, json};

use super::Ports;
use crate::{authority::Authority, random, service::Service};

/// How fast a homeserver lets its users be.
#[derive(Clone, Debug, Default)]
pub enum Limits {
    /// So high that no test meets them.
    #[default]
    Open,
    /// Synapse's own.
    Default,
    /// These of Synapse's settings (`rc_invites`, `rc_joins`, …), and its own for what they leave
    /// out.
    Given(Map<String, Value>),
}

/// What can differ between homeservers.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Rate limits.
    pub limits: Limits,
    /// Registration files of application services.
    pub appservices: Vec<PathBuf>,
    /// Bots to be registered as application services. Their registrations stay over restarts.
    pub services: Vec<Service>,
    /// Any other of Synapse's settings, by their names at the top of `homeserver.yaml`.
    pub settings: Map<String, Value>,
}

/// Writes everything that Synapse wants to find in `folder`, and returns the path of its
/// configuration. What must survive a restart is left alone when it is there already.
pub(super) fn write(
    folder: &Path,
    ports: Ports,
    shared_secret: &str,
    authority: &Authority,
    options: &Options,
) -> Result<PathBuf> {
    let signing_key = folder.join("signing.key");
    if !signing_key.exists() {
        let seed = Base64::<ruma::serde::base64::Standard, _>::new(random::seed().to_vec());
        fs::write(&signing_key, format!("ed25519 a_lab {}\n", seed.encode()))?;
    }
    let certificate = authority.issue(folder)?;
    let log_config = folder.join("log.yaml");
    fs::write(&log_config, log_settings(&log(folder)).to_string())?;

    let server_name: OwnedServerName = ports.server_name().try_into()?;
    let mut appservices = options.appservices.clone();
    for service in &options.services {
        service.register(&server_name, folder)?;
        appservices.push(service.registration(folder));
    }

    let listener = |port: u16, tls: bool, resources: &[&str]| {
        json!({
            "port": port,
            "tls": tls,
            "type": "http",
            "bind_addresses": ["127.0.0.1"],
            "resources": [{ "names": resources, "compress": false }],
        })
    };
    let mut settings = json!({
        "server_name": server_name,
        "public_baseurl": ports.url(),
        "listeners": [
            listener(ports.client, false, &["client"]),
            listener(ports.federation, true, &["federation"]),
        ],
        "tls_certificate_path": certificate.chain,
        "tls_private_key_path": certificate.key,
        "federation_custom_ca_list": [authority.certificate()],
        // Loopback is where all of them are.
        "ip_range_blacklist": [],
        "trusted_key_servers": [],
        "suppress_key_server_warning": true,
        // A homeserver that was stopped for a test is not avoided for ten minutes afterwards.
        "federation": {
            "destination_min_retry_interval": "1s",
            "destination_max_retry_interval": "5s",
        },
        "database": { "name": "sqlite3", "args": { "database": folder.join("homeserver.db") } },
        "media_store_path": folder.join("media"),
        "signing_key_path": signing_key,
        "log_config": log_config,
        "registration_shared_secret": shared_secret,
        "macaroon_secret_key": shared_secret,
        "form_secret": shared_secret,
        "enable_registration": false,
        // As cheap as the format allows: passwords are hashed by the hundred here.
        "bcrypt_rounds": 4,
        "presence": { "enabled": false },
        "report_stats": false,
        "allow_public_rooms_over_federation": true,
        "room_list_publication_rules": [{ "action": "allow" }],
        "app_service_config_files": appservices,
    });
    if let Value::Object(settings) = &mut settings {
        settings.extend(match &options.limits {
            Limits::Open => open_limits(),
            Limits::Default => Map::new(),
            Limits::Given(limits) => limits.clone(),
        });
        settings.extend(options.settings.clone());
    }

    let path = folder.join("homeserver.yaml");
    // JSON is YAML.
    fs::write(&path, format!("{settings:#}\n"))?;
    Ok(path)
}

/// Where Synapse logs to.
pub(super) fn log(folder: &Path) -> PathBuf {
    folder.join("homeserver.log")
}

fn log_settings(log: &Path) -> Value {
    json!({
        "version": 1,
        "disable_existing_loggers": false,
        "formatters": { "line": {
            "format": "%(asctime)s %(levelname)s %(name)s %(request)s %(message)s",
        }},
        "handlers": { "file": {
            "class": "logging.FileHandler", "filename": log, "formatter": "line",
        }},
        "root": { "level": "INFO", "handlers": ["file"] },
    })
}

/// Every limit that Synapse 1.163 reads from its configuration, out of reach.
fn open_limits() -> Map<String, Value> {
    let open = json!({ "per_second": 100_000, "burst_count": 100_000 });
    let each = |names: &[&str]| {
        Value::Object(names.iter().map(|name| ((*name).to_owned(), open.clone())).collect())
    };
    let mut limits: Map<String, Value> = [
        "rc_3pid_validation",
        "rc_admin_redaction",
        "rc_delayed_event_mgmt",
        "rc_joins_per_room",
        "rc_key_requests",
        "rc_media_create",
        "rc_message",
        "rc_profile",
        "rc_registration",
        "rc_registration_token_validity",
        "rc_reports",
        "rc_room_creation",
        "rc_third_party_invite",
        "rc_user_directory",
    ]
    .map(|name| (name.to_owned(), open.clone()))
    .into_iter()
    .collect();
    limits.extend([
        ("rc_joins".to_owned(), each(&["local", "remote"])),
        ("rc_invites".to_owned(), each(&["per_room", "per_user", "per_issuer"])),
        ("rc_login".to_owned(), each(&["address", "account", "failed_attempts"])),
        ("rc_presence".to_owned(), each(&["per_user"])),
        (
            "rc_federation".to_owned(),
            json!({
                "window_size": 1000,
                "sleep_limit": 100_000,
                "sleep_delay": 0,
                "reject_limit": 100_000,
                "concurrent": 100,
            }),
        ),
        ("federation_rr_transactions_per_room_per_second".to_owned(), json!(100_000)),
        ("remote_media_download_per_second".to_owned(), json!("1G")),
        ("remote_media_download_burst_count".to_owned(), json!("1G")),
    ]);
    limits
}
