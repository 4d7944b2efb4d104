//! Tern is a Matrix bot that moves a person from one Matrix account to another.
//!
//! The map: what is below knows nothing of what is above it.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`bot`] | what people see: sync, commands (one file each), wording, the progress message |
//! | [`moderation`] | invite requests: asking, watching for the answer |
//! | [`migration`] | the job: survey, plan, run, report |
//! | [`consent`], [`access`] | who agreed, and how the bot may act as them |
//! | [`web`] | HTTP: what homeservers send to the application service, health, metrics |
//! | [`record`] | what is stored of one migration: who takes part, how far it is, what was chosen |
//! | [`appservice`] | registrations on homeservers: what they cover |
//! | [`homeserver`] | the client-server API: typed calls as one account, errors sorted, pacing |
//! | [`measure`] | what is counted, for whoever watches the bot |
//! | [`store`] | sled: what survives a restart |
//! | `crypto_store` | what matrix-sdk keeps of keys, so that nothing is lost with a kill |
//! | [`config`] | the configuration file and its environment overrides |
//! | `compute`, `json` | long work beside the threads that answer people; how deep JSON is |
//! | [`clock`], [`secret`], [`logging`] | time, as a parameter; what is never shown; what is logged |

pub mod access;
pub mod appservice;
pub mod bot;
pub mod clock;
mod compute;
pub mod config;
pub mod consent;
mod crypto_store;
pub mod homeserver;
mod identifiers;
mod json;
pub mod logging;
pub mod measure;
pub mod migration;
pub mod moderation;
pub mod record;
pub mod secret;
pub mod store;
pub mod web;
