//! What people see: chat with the bot in direct messages.

mod answer;
mod commands;
mod grammar;
mod records;
mod report_files;
mod shared;
mod wording;

pub use self::commands::command_table;
