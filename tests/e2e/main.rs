//! People chat with the real bot through real clients, on two real homeservers that federate; the
//! homeservers are asked for the outcome.

#![expect(clippy::unwrap_used, clippy::panic, reason = "that is how a test fails")]

mod abuse;
mod access;
mod admin;
mod by_hand;
mod check;
mod consent;
mod course;
mod fast;
mod faults;
mod gone;
mod holdings;
mod interrupted;
mod kill;
mod limits;
mod machine;
mod manner;
mod metrics;
mod moderators;
mod moderators_answer;
mod moderators_sealed;
mod nobody_else;
mod other_clients;
mod overheard;
mod own_user;
mod pushed;
mod registration;
mod rooms;
mod scene;
mod secrets;
mod service;
mod service_limits;
mod start;
mod thousand;
mod whole;
