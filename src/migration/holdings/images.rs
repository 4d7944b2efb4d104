//! The images of emote and sticker packs: where a pack names a file of the old account's server, the
//! new account gets a copy, so that the pack outlives that server.

use std::collections::BTreeSet;

use ruma::{MxcUri, OwnedMxcUri, ServerName, serde::JsonObject};
use serde_json::Value;

use super::Copies;

/// How many images are copied in one run. People have some dozens, and a few have hundreds.
const MOST_IMAGES: usize = 500;

/// How many bytes of images are copied in one run.
const MOST_BYTES: usize = 100 << 20;

/// Whether account data of this type is a pack of images.
pub(super) fn is_pack(event_type: &str) -> bool {
    event_type == "im.ponies.user_emotes" || event_type.starts_with("m.image_pack")
}

/// What may still be copied in one run.
#[derive(Debug)]
pub(super) struct Allowance {
    images: usize,
    bytes: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { images: MOST_IMAGES, bytes: MOST_BYTES }
    }
}

impl Allowance {
    pub(super) fn is_used_up(&self) -> bool {
        self.images == 0 || self.bytes == 0
    }

    pub(super) fn use_up(&mut self, bytes: usize) {
        self.images = self.images.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// The files of `server` that a pack names.
pub(super) fn on_server(pack: &JsonObject, server: &ServerName) -> BTreeSet<OwnedMxcUri> {
    let mut found = BTreeSet::new();
    for value in pack.values() {
        collect(value, server, &mut found);
    }
    found
}

fn collect(value: &Value, server: &ServerName, found: &mut BTreeSet<OwnedMxcUri>) {
    match value {
        Value::String(text) => {
            let uri = <&MxcUri>::from(text.as_str());
            if uri.server_name().is_ok_and(|of| of == server) {
                found.insert(uri.to_owned());
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, server, found)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, server, found)),
        _ => {}
    }
}

/// Puts copies in the place of what they were made of.
pub(super) fn replace(pack: &mut JsonObject, copies: &Copies) {
    if !copies.is_empty() {
        pack.values_mut().for_each(|value| replace_in(value, copies));
    }
}

fn replace_in(value: &mut Value, copies: &Copies) {
    match value {
        Value::String(text) => {
            if let Some(copy) = copies.get(<&MxcUri>::from(text.as_str())) {
                *text = copy.to_string();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace_in(item, copies)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace_in(field, copies)),
        _ => {}
    }
}
