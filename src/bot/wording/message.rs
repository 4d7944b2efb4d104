//! What the bot says, in its two forms at once: a plain body and a formatted body.
//!
//! A sentence is a template in the source, with `code`, **bold** and {named} places in it. The
//! markup is read before the values are put in, and each value is cleaned and escaped on its way
//! in, so that no room name or error can add markup of its own.

use std::fmt::Write as _;

use matrix_sdk::ruma::events::{
    Mentions,
    room::message::{MessageType, NoticeMessageEventContent, RoomMessageEventContent},
};

use super::value::Value;
use crate::moderation::Text;

/// A message: paragraphs and lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The text without markup.
    pub(super) plain: String,
    /// The text as HTML, of the tags that the specification suggests.
    pub(super) html: String,
}

/// One line with its markup, already escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    plain: String,
    html: String,
}

impl Message {
    /// A message of one paragraph.
    pub(crate) fn new(line: impl Into<Line>) -> Self {
        Self::default().and(line)
    }

    /// With one more paragraph.
    pub(crate) fn and(mut self, line: impl Into<Line>) -> Self {
        let line = line.into();
        self.part_from_last();
        self.plain.push_str(&line.plain);
        let _ = write!(self.html, "<p>{}</p>", line.html);
        self
    }

    /// With one more paragraph, if there is one.
    pub(crate) fn and_maybe(self, line: Option<impl Into<Line>>) -> Self {
        match line {
            Some(line) => self.and(line),
            None => self,
        }
    }

    /// With a list of points; without it when there are none.
    pub(crate) fn list(mut self, lines: impl IntoIterator<Item = Line>) -> Self {
        let mut lines = lines.into_iter().peekable();
        if lines.peek().is_none() {
            return self;
        }
        self.part_from_last();
        self.html.push_str("<ul>");
        let mut points = Vec::new();
        for line in lines {
            points.push(format!("• {}", line.plain));
            let _ = write!(self.html, "<li>{}</li>", line.html);
        }
        self.html.push_str("</ul>");
        self.plain.push_str(&points.join("\n"));
        self
    }

    /// With lines one below the other; without them when there are none.
    pub(crate) fn lines(mut self, lines: impl IntoIterator<Item = Line>) -> Self {
        let (plain, html): (Vec<_>, Vec<_>) =
            lines.into_iter().map(|line| (line.plain, line.html)).unzip();
        if plain.is_empty() {
            return self;
        }
        self.part_from_last();
        self.plain.push_str(&plain.join("\n"));
        let _ = write!(self.html, "<p>{}</p>", html.join("<br>"));
        self
    }

    /// A text as it will be read elsewhere, set off from what is around it.
    pub(super) fn quoted(text: &Text) -> Self {
        let plain = text.plain.lines().map(|line| format!("> {line}")).collect::<Vec<_>>();
        Self { plain: plain.join("\n"), html: format!("<blockquote>{}</blockquote>", text.html) }
    }

    /// With all of another message above.
    pub(in crate::bot) fn after(self, other: Self) -> Self {
        other.then(self)
    }

    /// With all of another message below.
    pub(super) fn then(mut self, other: Self) -> Self {
        self.part_from_last();
        self.plain.push_str(&other.plain);
        self.html.push_str(&other.html);
        self
    }

    fn part_from_last(&mut self) {
        if !self.plain.is_empty() {
            self.plain.push_str("\n\n");
        }
    }

    /// As a notice that mentions nobody.
    pub(crate) fn content(&self) -> RoomMessageEventContent {
        let notice = NoticeMessageEventContent::html(self.plain.as_str(), self.html.as_str());
        RoomMessageEventContent::new(MessageType::Notice(notice)).add_mentions(Mentions::new())
    }
}

impl Line {
    /// Reads the markup of `template` and puts `values` in its places.
    pub(super) fn render(template: &str, values: &[(&str, Value)]) -> Self {
        let mut line = Self::default();
        let (mut code, mut bold) = (false, false);
        let mut rest = template;
        while let Some(at) = rest.find(['`', '*', '{']) {
            let (text, markup) = rest.split_at(at);
            line.push_text(text);
            rest = if let Some(rest) = markup.strip_prefix('`') {
                line.plain.push('`');
                line.html.push_str(if code { "</code>" } else { "<code>" });
                code = !code;
                rest
            } else if let Some(rest) = markup.strip_prefix("**") {
                line.html.push_str(if bold { "</strong>" } else { "<strong>" });
                bold = !bold;
                rest
            } else if let Some((name, rest)) =
                markup.strip_prefix('{').and_then(|rest| rest.split_once('}'))
            {
                match values.iter().find(|(known, _)| *known == name) {
                    Some((_, value)) => line.push_line(value.as_line()),
                    None => line.push_text(name),
                }
                rest
            } else {
                line.push_text(&markup[..1]);
                &markup[1..]
            };
        }
        line.push_text(rest);
        line
    }

    /// Text that people wrote, cleaned before: only escaped.
    pub(super) fn text(text: &str) -> Self {
        let mut line = Self::default();
        line.push_text(text);
        line
    }

    /// A link, with the words that stand for it.
    pub(super) fn link(url: &str, words: &str) -> Self {
        let (url, words) = (escape(url), Self::text(words));
        Self {
            plain: format!("{} ({url})", words.plain),
            html: format!(r#"<a href="{url}">{}</a>"#, words.html),
        }
    }

    /// A person, as clients show them: in the plain form only by their ID.
    pub(super) fn mention(url: &str, id: &str) -> Self {
        let words = Self::text(id);
        Self {
            html: format!(r#"<a href="{}">{}</a>"#, escape(url), words.html),
            plain: words.plain,
        }
    }

    /// This line, and `other` after a space.
    pub(super) fn followed_by(mut self, other: &Self) -> Self {
        self.push_text(" ");
        self.push_line(other);
        self
    }

    fn push_text(&mut self, text: &str) {
        self.plain.push_str(text);
        self.html.push_str(&escape(text));
    }

    fn push_line(&mut self, line: &Self) {
        self.plain.push_str(&line.plain);
        self.html.push_str(&line.html);
    }

    /// The text without markup.
    pub(super) fn into_plain(self) -> String {
        self.plain
    }

    /// How much of an event's size limit this takes.
    pub(super) fn size(&self) -> usize {
        self.plain.len() + self.html.len()
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// A [`Line`] from a template: `line!("Say `{command}`.", command = "go")`.
macro_rules! line {
    ($template:literal $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::bot::wording::message::Line::render(
            $template,
            &[$((stringify!($name), $crate::bot::wording::value::Value::from($value))),*],
        )
    };
}
pub(super) use line;

impl From<&str> for Line {
    fn from(template: &str) -> Self {
        Self::render(template, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bot::wording::value::name;

    #[test]
    fn a_template_has_code_bold_and_values() {
        let line = line!("Say `skip {n}` or **{what}**, 2*3 {x", n = 3_usize, what = name("<b>"));
        assert_eq!(line.plain, "Say `skip 3` or “<b>”, 2*3 {x");
        assert_eq!(line.html, "Say <code>skip 3</code> or <strong>“&lt;b&gt;”</strong>, 2*3 {x");
    }

    #[test]
    fn a_hostile_room_name_adds_no_markup_and_does_not_turn_the_text_around() {
        let hostile =
            format!("`**{{n}}`\u{202e}<img src=x>\u{0}\n@room \u{2066}{}", "x".repeat(99));
        let line = line!("Room {room}.", room = name(&hostile), n = "no");
        insta::assert_snapshot!(format!("{}\n{}", line.plain, line.html));
    }

    #[test]
    fn a_message_mentions_nobody_and_is_a_notice() {
        let content = Message::new("Hello.").and("Say `help`.").list(["one".into()]).content();
        insta::assert_json_snapshot!(content);
    }
}
