//! Making accounts, through Synapse's admin API.

use std::fs;

use anyhow::{Context, Result};
use hmac::{Hmac, Mac};
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::Deserialize;
use serde_json::{Value, json};
use sha1::Sha1;

use super::Homeserver;
use crate::{account::Account, random, service::Service};

#[derive(Deserialize)]
struct Nonce {
    nonce: String,
}

#[derive(Deserialize)]
struct Registered {
    user_id: OwnedUserId,
    access_token: String,
    device_id: OwnedDeviceId,
}

impl Homeserver {
    /// Makes an account with a password that occurs nowhere else.
    pub async fn account(&self, localpart: &str) -> Result<Account> {
        self.register(localpart, &random::word()).await
    }

    /// Makes an account.
    pub async fn register(&self, localpart: &str, password: &str) -> Result<Account> {
        self.register_as(localpart, password, false).await
    }

    /// Makes the account of a server admin, who may use Synapse's admin API.
    pub async fn register_admin(&self, localpart: &str, password: &str) -> Result<Account> {
        self.register_as(localpart, password, true).await
    }

    /// A user for an application service that the homeserver knows to be, whose localpart begins
    /// with the service's ID. It has no password, and need not be there yet.
    pub fn own_user(&self, service: &Service, name: &str) -> Result<Account> {
        let path = self.registration(service).context("the service is not registered here")?;
        let registration = fs::read_to_string(path)?;
        let as_token = registration.lines().find_map(|line| line.strip_prefix("as_token: "));
        let as_token = as_token.context("the registration has no as_token")?.to_owned();
        let user_id = format!("@{}-{name}:{}", service.id(), self.name()).try_into()?;
        Ok(Account::known(self.url(), user_id, "none".into(), as_token, ""))
    }

    /// Follows <https://element-hq.github.io/synapse/latest/admin_api/register_api.html>.
    async fn register_as(&self, localpart: &str, password: &str, admin: bool) -> Result<Account> {
        let url = format!("{}/_synapse/admin/v1/register", self.url());
        let Nonce { nonce } = crate::http().get(&url).send().await?.json().await?;
        let role = if admin { "admin" } else { "notadmin" };
        let mut mac = Hmac::<Sha1>::new_from_slice(self.shared_secret.as_bytes())?;
        mac.update([&nonce, localpart, password, role].join("\0").as_bytes());
        let request = json!({
            "nonce": nonce,
            "username": localpart,
            "password": password,
            "admin": admin,
            "mac": format!("{:x}", mac.finalize().into_bytes()),
        });
        let answer: Value = crate::http().post(&url).json(&request).send().await?.json().await?;
        let registered: Registered = serde_json::from_value(answer.clone())
            .with_context(|| format!("could not register {localpart}: {answer}"))?;
        Ok(Account::known(
            self.url(),
            registered.user_id,
            registered.device_id,
            registered.access_token,
            password,
        ))
    }
}
