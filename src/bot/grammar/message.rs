//! From a message to the words that count.

use super::{html, secrets};

/// The words of a message: without prefix, quotes and reply fallback; pills as links.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Words(String);

impl std::fmt::Debug for Words {
    /// Shows nothing: there may be a password in them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Words(..)")
    }
}

impl Words {
    /// Of a message with this plain body and, perhaps, this formatted body.
    ///
    /// A formatted body only counts for the links in it: the plain body of a pill is a display
    /// name, which names nobody. What follows `login` is always taken from the plain body, in
    /// which nothing was changed by a formatter.
    pub(crate) fn new(body: &str, html: Option<&str>, prefix: &str) -> Self {
        let plain = without_prefix(without_quotes(body), prefix);
        let is_login =
            plain.split_whitespace().next().is_some_and(|w| w.eq_ignore_ascii_case("login"));
        if !is_login && let Some(linked) = html.and_then(html::text_with_links) {
            return Self(without_prefix(without_quotes(&linked), prefix).to_owned());
        }
        Self(plain.to_owned())
    }

    /// The first word, and all that comes after it, as it was written.
    pub(super) fn split_first(&self) -> (&str, &str) {
        let text = self.0.trim_start();
        match text.split_once(char::is_whitespace) {
            Some((word, rest)) => (word, rest),
            None => (text, ""),
        }
    }

    /// Whether something follows `login` at the beginning, which may be a secret even if it cannot
    /// be read as one.
    pub(crate) fn may_hold_secret(&self) -> bool {
        let (word, rest) = self.split_first();
        word.eq_ignore_ascii_case("login")
            && !matches!(rest.trim().to_lowercase().as_str(), "" | "none" | "service")
    }

    /// Whether words that are no command may tell a secret, however it was typed.
    pub(crate) fn may_tell_secret(&self) -> bool {
        self.may_hold_secret() || secrets::may_tell(&self.0)
    }

    /// Whether there is something among them that looks like a token or a key.
    pub(crate) fn has_key_or_token(&self) -> bool {
        secrets::has_key_or_token(&self.0)
    }
}

/// Leaves out the leading lines that quote: a reply fallback, or what a person quoted themselves.
fn without_quotes(text: &str) -> &str {
    let mut rest = text.trim_start();
    while rest.starts_with('>') {
        rest = rest.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
    }
    rest
}

fn without_prefix<'t>(text: &'t str, prefix: &str) -> &'t str {
    let text = text.trim_start();
    let Some((head, rest)) = text.split_at_checked(prefix.len()) else { return text };
    let ends_there = rest.is_empty() || rest.starts_with(char::is_whitespace);
    if head.eq_ignore_ascii_case(prefix) && ends_there { rest.trim_start() } else { text }
}
