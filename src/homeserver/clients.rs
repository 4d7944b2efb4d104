use reqwest::{Client, redirect};
use url::Url;

use super::addresses::{self, MOST_REDIRECTS, Private, PublicOnly};
use crate::config::Timeouts;

/// Whether an answer may send the request elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirects {
    Refused,
    Followed,
}

/// The HTTP clients. Only that for well-known files, which may be elsewhere, follows redirects, so
/// that no token and no password goes where it was not sent.
#[derive(Debug)]
pub(super) struct Clients {
    /// For homeservers in the configuration, wherever they are.
    trusted: Client,
    /// For all others.
    client: Client,
    redirected_client: Client,
    private_addresses: bool,
    timeouts: Timeouts,
}

impl Clients {
    pub(super) fn new(timeouts: Timeouts, private_addresses: bool) -> reqwest::Result<Self> {
        let plain = || {
            Client::builder()
                .user_agent(concat!("tern/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(timeouts.connect)
                .redirect(redirect::Policy::none())
        };
        let trusted = plain().build()?;
        let (client, redirected_client) = if private_addresses {
            let redirects = redirect::Policy::limited(MOST_REDIRECTS);
            (trusted.clone(), plain().redirect(redirects).build()?)
        } else {
            let public = || plain().dns_resolver(PublicOnly::of_system());
            (public().build()?, public().redirect(addresses::redirects()).build()?)
        };
        Ok(Self { trusted, client, redirected_client, private_addresses, timeouts })
    }

    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// The client for what is at `url`.
    pub(super) fn client_for(
        &self,
        url: &Url,
        is_configured: bool,
        redirects: Redirects,
    ) -> Result<&Client, Private> {
        if is_configured {
            return Ok(&self.trusted);
        }
        if !self.private_addresses {
            addresses::check(url)?;
        }
        Ok(match redirects {
            Redirects::Refused => &self.client,
            Redirects::Followed => &self.redirected_client,
        })
    }

    #[cfg(test)]
    pub(super) fn redirecting(&self) -> &Client {
        &self.redirected_client
    }
}
