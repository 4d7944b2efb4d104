//! Which addresses a server name may lead to that the configuration does not have.
//!
//! Whoever names a server says by that where the bot connects to. Nobody is to reach through it what
//! only this machine, or others beside it, can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::{
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use url::{Host, Url};

/// How many redirects are followed.
pub(super) const MOST_REDIRECTS: usize = 5;

/// An address that is not one of the public internet.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{0} is a private address: if it is meant, write the homeserver under `homeservers`")]
pub(super) struct Private(IpAddr);

/// Refuses a URL that has such an address in place of a name.
pub(super) fn check(url: &Url) -> Result<(), Private> {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::from(address),
        Some(Host::Ipv6(address)) => IpAddr::from(address),
        Some(Host::Domain(_)) | None => return Ok(()),
    };
    if is_public(address) { Ok(()) } else { Err(Private(address)) }
}

/// Follows a few redirects, but none to such an address.
pub(super) fn redirects() -> redirect::Policy {
    redirect::Policy::custom(|attempt| match check(attempt.url()) {
        Err(private) => attempt.error(private),
        Ok(()) if attempt.previous().len() > MOST_REDIRECTS => attempt.stop(),
        Ok(()) => attempt.follow(),
    })
}

/// Looks names up, and leaves such addresses out.
#[derive(Debug)]
pub(super) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let (public, private): (Vec<_>, Vec<_>) =
                found.partition(|address| is_public(address.ip()));
            match private.first() {
                Some(address) if public.is_empty() => Err(Private(address.ip()).into()),
                _ => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}

/// Whether everybody has the same machine at this address.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let is_carriers_own = first == 100 && (64..128).contains(&second);
    let is_of_no_machine = first == 0 || first >= 224;
    let is_private = address.is_private() || address.is_loopback() || address.is_link_local();
    !(is_private || is_carriers_own || is_of_no_machine)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // An IPv4 address, for machines that have none (RFC 6052).
    if let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() {
        return is_public_v4(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)));
    }
    let is_private =
        address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local();
    !(is_private || address.is_unspecified() || address.is_multicast())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_let_through(url: &str) -> bool {
        check(&url.parse().unwrap()).is_ok()
    }

    #[test]
    fn addresses_of_this_machine_and_of_private_networks_are_refused_however_they_are_written() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.100.0.1",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[::ffff:10.0.0.1]",
            "[64:ff9b::a00:1]",
            "[fd00::1]",
            "[fe80::1]",
            "[ff02::1]",
        ] {
            assert!(!is_let_through(&format!("https://{host}/")), "{host}");
        }
        for host in ["matrix.example.org", "1.1.1.1", "100.1.0.1", "172.32.0.1", "[2606:4700::1]"] {
            assert!(is_let_through(&format!("https://{host}/")), "{host}");
        }
    }
}
