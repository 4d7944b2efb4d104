//! What is put into sentences: cleaned, and in the form people read.

use std::time::Duration;

use matrix_sdk::ruma::{OwnedRoomAliasId, OwnedRoomOrAliasId, OwnedUserId, RoomId, UserId};

use super::message::Line;

/// How many characters of a name are shown.
const LONGEST_NAME: usize = 60;
/// How many characters of an error or of what a person wrote are shown.
const LONGEST_QUOTE: usize = 200;

/// A value that is ready to be put into a sentence.
#[derive(Clone, Debug)]
pub(super) struct Value(Line);

impl Value {
    pub(super) fn as_line(&self) -> &Line {
        &self.0
    }
}

/// Text of this crate's own.
impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self(Line::text(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self(Line::text(&clean(&text, LONGEST_QUOTE)))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self(Line::text(&number.to_string()))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self(Line::text(&number.to_string()))
    }
}

impl From<Line> for Value {
    fn from(line: Line) -> Self {
        Self(line)
    }
}

/// An identifier, in full: people compare it with what they know. The grammar of identifiers
/// allows no line breaks, but old user IDs may hold anything.
macro_rules! from_identifier {
    ($($identifier:ty),*) => {$(
        impl From<$identifier> for Value {
            fn from(id: $identifier) -> Self {
                Self(Line::text(&clean(id.as_str(), 255)))
            }
        }
    )*};
}
from_identifier!(&UserId, &OwnedUserId, &RoomId, &OwnedRoomOrAliasId, &OwnedRoomAliasId);

/// A name that somebody else chose.
pub(super) fn name(name: &str) -> Value {
    Value(Line::text(&format!("“{}”", clean_name(name))))
}

/// What a person wrote, or what a homeserver said.
pub(super) fn quote(text: &str) -> Value {
    Value(Line::text(&format!("“{}”", clean(text, LONGEST_QUOTE))))
}

/// A name that somebody else chose, without quotation marks.
pub(in crate::bot) fn clean_name(name: &str) -> String {
    clean(name, LONGEST_NAME)
}

/// Without what could hide or turn around the text beside it, on one line, and not too long.
pub(super) fn clean(text: &str, longest: usize) -> String {
    let visible = text.chars().filter_map(|c| match c {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => Some(' '),
        c if c.is_control() => None,
        // Marks, embeddings, overrides and isolates of direction; invisible letters; tags.
        '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' => None,
        '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => None,
        '\u{e0000}'..='\u{e007f}' => None,
        c => Some(c),
    });
    let mut clean = String::new();
    for (length, c) in visible.enumerate() {
        if length == longest {
            clean.push('…');
            break;
        }
        clean.push(c);
    }
    // Clients that know no `m.mentions` look for this in the text.
    clean.trim().replace("@room", "@\u{2060}room")
}

/// `1 room`, `57 rooms`.
pub(super) fn count(number: usize, one: &'static str, many: &'static str) -> Value {
    Value(Line::text(&format!("{number} {}", if number == 1 { one } else { many })))
}

/// `57 rooms`.
pub(super) fn rooms(number: usize) -> Value {
    count(number, "room", "rooms")
}

/// `less than a minute`, `about 40 minutes`, `about 3 hours`.
pub(super) fn about(duration: Duration) -> Value {
    Value(Line::text(&about_text(duration)))
}

/// See [`about`].
pub(super) fn about_text(duration: Duration) -> String {
    let minutes = (duration.as_secs() + 30) / 60;
    match minutes {
        0 => "less than a minute".to_owned(),
        1 => "about a minute".to_owned(),
        2..10 => format!("about {minutes} minutes"),
        10..58 => format!("about {} minutes", round(minutes, 5)),
        58..90 => "about an hour".to_owned(),
        // 36 hours.
        90..2_160 => format!("about {} hours", round(minutes, 60) / 60),
        _ => format!("about {} days", round(minutes, 1_440) / 1_440),
    }
}

fn round(number: u64, to: u64) -> u64 {
    (number + to / 2) / to * to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_to_what_people_say() {
        let table = [0, 20, 49, 55, 70, 150, 600, 1_500, 2_400, 3_480, 4_000, 5_400, 9_000, 86_400]
            .map(|seconds| format!("{seconds} s: {}", about_text(Duration::from_secs(seconds))));
        insta::assert_snapshot!(table.join("\n"));
    }
}
