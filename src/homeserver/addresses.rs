//! Which addresses a server name may lead to that the configuration does not have.
//!
//! Whoever names a server says by that where the bot connects to. Nobody is to reach through it what
//! only this machine, or others beside it, can reach.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use futures_util::future::BoxFuture;
use iprfc::RFC6890;
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
        Ok(()) if is_downgrade(&attempt) => attempt.stop(),
        Ok(()) if attempt.previous().len() > MOST_REDIRECTS => attempt.stop(),
        Ok(()) => attempt.follow(),
    })
}

/// Whether it leads from https to what anybody on the way can answer.
fn is_downgrade(attempt: &redirect::Attempt<'_>) -> bool {
    let came_by_https = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    came_by_https && attempt.url().scheme() != "https"
}

/// How a name is looked up.
type Lookup = fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

/// Looks names up, and leaves such addresses out. What it gives is what is connected to, and each
/// connection asks anew, so that a name cannot lead to one address when it is checked and to another
/// when it is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct PublicOnly(Lookup);

impl PublicOnly {
    /// By the system's resolver.
    pub(super) fn of_system() -> Self {
        Self(|name| {
            Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
        })
    }
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.0)(name.as_str().to_owned());
        Box::pin(async move {
            let (public, private): (Vec<_>, Vec<_>) =
                found.await?.into_iter().partition(|address| is_public(address.ip()));
            match private.first() {
                Some(address) if public.is_empty() => Err(Private(address.ip()).into()),
                _ => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}

/// Whether everybody has the same machine at this address: it is none of those that IANA's registries
/// of special addresses have, for [IPv4] and for [IPv6].
///
/// So no address counts that has an IPv4 one in it, as of 6to4 (`2002::/16`), Teredo (`2001::/32`),
/// IPv4-compatible (`::/96`) or a network's own NAT64 (`64:ff9b:1::/48`): where it leads, the gateway
/// beside this machine says. The exception is NAT64's well-known prefix, which is how a machine
/// without IPv4 reaches all that has only that; it counts as the IPv4 address that it stands for.
///
/// [IPv4]: https://www.iana.org/assignments/iana-ipv4-special-registry
/// [IPv6]: https://www.iana.org/assignments/iana-ipv6-special-registry
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !(RFC6890.contains(&address) || address.is_multicast())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // RFC 6052.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)))
        }
        // All that IANA gives to machines is in this eighth (RFC 4291).
        [first, ..] => first & 0xe000 == 0x2000 && !RFC6890.contains(&address),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

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
            "[::ffff:169.254.169.254]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[::ffff:0:127.0.0.1]",
            "[64:ff9b::a00:1]",
            "[64:ff9b::169.254.169.254]",
            "[64:ff9b:1::a00:1]",
            "[64:ff9b:1:a00:0:100::]",
            "[2002:7f00:1::1]",
            "[2002:a00:1::]",
            "[2002:a9fe:a9fe::1]",
            "[2001:0:4136:e378:8000:63bf:f5ff:fffe]",
            "[2001::1]",
            "[2001:2::1]",
            "[2001:10::1]",
            "[2001:20::1]",
            "[2001:db8::1]",
            "[3fff::1]",
            "[5f00::1]",
            "[100::1]",
            "[4000::1]",
            "[fec0::1]",
            "192.0.0.8",
            "192.0.0.170",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "[fd00::1]",
            "[fe80::1]",
            "[ff02::1]",
        ] {
            assert!(!is_let_through(&format!("https://{host}/")), "{host}");
        }
        for host in ["matrix.example.org", "1.1.1.1", "100.1.0.1", "172.32.0.1", "[2606:4700::1]"] {
            assert!(is_let_through(&format!("https://{host}/")), "{host}");
        }
        for host in ["[64:ff9b::101:101]", "[::ffff:1.1.1.1]", "[2a01:4f8::1]", "[2001:67c::1]"] {
            assert!(is_let_through(&format!("https://{host}/")), "{host}");
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up_for_each_connection_and_only_what_was_checked_is_connected_to() {
        static LOOKUPS: AtomicUsize = AtomicUsize::new(0);
        // As of who answers with a public address first, and with one of this machine thereafter.
        let rebound = PublicOnly(|_| {
            let addresses = match LOOKUPS.fetch_add(1, Ordering::SeqCst) {
                0 => ["127.0.0.1:0", "1.1.1.1:0", "[2002:7f00:1::]:0"],
                _ => ["127.0.0.1:0", "169.254.169.254:0", "[64:ff9b::a00:1]:0"],
            };
            let addresses = addresses.map(|address| address.parse().unwrap()).to_vec();
            Box::pin(async { Ok(addresses) })
        });
        let given = rebound.resolve("rebound.example".parse().unwrap()).await.unwrap();
        assert_eq!(given.map(|address| address.ip().to_string()).collect::<Vec<_>>(), ["1.1.1.1"]);
        let client = reqwest::Client::builder().dns_resolver(rebound).build().unwrap();
        let error = client.get("http://rebound.example/").send().await.unwrap_err();
        assert!(format!("{error:?}").contains("Private(127.0.0.1)"), "{error:?}");
        assert_eq!(LOOKUPS.load(Ordering::SeqCst), 2);
    }
}
