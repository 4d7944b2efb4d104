//! Real homeservers on loopback, filled with accounts and rooms, for Tern's tests, demo and
//! benchmarks. Development only.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`lab`] | a folder, a certificate authority, and what is started with them |
//! | [`homeserver`] | Synapse processes that federate with each other |
//! | [`proxy`] | what stands in front of a homeserver and fails where a test says |
//! | [`service`] | the bot as an application service that homeservers know |
//! | [`access_log`] | what homeservers were asked |
//! | [`account`] | an account's own requests: making rooms, joining, looking at the outcome |
//! | [`person`] | a person at a real client, who chats with the bot |
//! | [`town`] | a person with two accounts, her friends and her rooms |
//! | [`sim`] | a simulated pair of homeservers, in memory, for scale and for faults |
//! | [`bot`] | the bot binary as a process that can be killed and started again |
//! | [`build`] | the bot binary as a file |
//! | [`install`] | Python programs, pinned and installed once |
//! | [`wait`] | waiting for a condition |
//!
//! Everything started here ends with the process that started it, however that ends.

pub mod access_log;
pub mod account;
mod authority;
pub mod bot;
pub mod build;
mod guard;
pub mod homeserver;
pub mod install;
pub mod lab;
pub mod person;
pub mod proxy;
mod random;
mod run;
pub mod service;
pub mod sim;
mod target;
pub mod town;
pub mod wait;

pub use self::{
    account::{Account, RoomSpec},
    bot::{Bot, BotOptions},
    homeserver::{Homeserver, Limits, Options},
    lab::{Lab, Pair, pair},
    person::{Chat, Message, Person},
    proxy::{Fault, Proxy, Rule},
    service::{Service, served_pair},
    town::Town,
};

/// For requests to loopback. Keeps no connections, since they would belong to the runtime of the
/// test that opened them.
fn http() -> reqwest::Client {
    static HTTP: std::sync::OnceLock<reqwest::Client> = std::sync::OnceLock::new();
    HTTP.get_or_init(|| {
        reqwest::Client::builder()
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build()
            // Without settings that could be wrong, the default client builds whenever this would.
            .unwrap_or_default()
    })
    .clone()
}
