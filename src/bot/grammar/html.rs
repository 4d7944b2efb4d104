//! Links in a formatted body.

use std::sync::LazyLock;

use regex::Regex;

/// A tag, and the `href` in it if it is a link.
///
/// A tag soup of 64 kB is read in linear time and constant depth, which a tree of it would not be:
/// thousands of nested elements overflow the stack when they are dropped.
static TAG: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the pattern is fixed, and tests read it")]
    Regex::new(r#"(?i)<(/?)([a-z-]*)(?:\s[^<>]*?href\s*=\s*["']([^"'<>]*)["'])?[^<>]*>"#)
        .expect("a valid pattern")
});

/// The text of `html` with each link to something in Matrix in place of the words it is under;
/// nothing when there is no such link.
pub(super) fn text_with_links(html: &str) -> Option<String> {
    let mut text = String::new();
    let mut found = false;
    // The element whose text is left out: a link that was replaced, or a reply fallback.
    let mut within: Option<String> = None;
    let mut end = 0;
    for tag in TAG.captures_iter(html) {
        let (whole, name) = (tag.get_match(), tag[2].to_lowercase());
        if within.is_none() {
            text.push_str(&unescape(&html[end..whole.start()]));
        }
        end = whole.end();
        if let Some(open) = &within {
            if !tag[1].is_empty() && *open == name {
                within = None;
            }
            continue;
        }
        text.push(if name == "br" { '\n' } else { ' ' });
        if name == "mx-reply" {
            within = Some(name);
        } else if name == "a"
            && let Some(link) = tag.get(3).map(|link| unescape(link.as_str()))
            && is_matrix_link(&link)
        {
            text.push_str(&link);
            within = Some(name);
            found = true;
        }
    }
    if within.is_none() {
        text.push_str(&unescape(&html[end..]));
    }
    found.then_some(text)
}

fn is_matrix_link(link: &str) -> bool {
    link.starts_with("https://matrix.to/#/") || link.starts_with("matrix:")
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&#x27;", "'")
        .replace("&nbsp;", " ")
        .replace("&amp;", "&")
}
