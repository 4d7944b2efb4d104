//! What moderators read of a bot that is in none of their rooms.

use futures_util::{FutureExt as _, future::BoxFuture};
use ruma::{RoomId, UserId};
use tern::moderation::{Host, InviteRequest, Text, Words};

/// A bot that is in no room.
#[derive(Debug)]
pub(crate) struct Nowhere;

impl Host for Nowhere {
    fn may_invite<'a>(&'a self, _: &'a RoomId, _: &'a UserId) -> BoxFuture<'a, bool> {
        async { false }.boxed()
    }

    fn invite<'a>(&'a self, _: &'a RoomId, _: &'a UserId) -> BoxFuture<'a, bool> {
        async { false }.boxed()
    }
}

/// One word for each message, by which it is known again.
#[derive(Debug)]
pub(crate) struct Plainly;

impl Words for Plainly {
    fn request(&self, _: &InviteRequest) -> Text {
        text("asked")
    }

    fn knock_reason(&self, _: &InviteRequest) -> String {
        "asked".to_owned()
    }

    fn reminder(&self, _: &InviteRequest) -> Text {
        text("reminded")
    }

    fn ended(&self, _: &InviteRequest) -> Text {
        text("ended")
    }

    fn thanks(&self, _: &InviteRequest, _: &UserId) -> Text {
        text("thanked")
    }
}

fn text(word: &str) -> Text {
    Text { plain: word.to_owned(), html: word.to_owned() }
}
