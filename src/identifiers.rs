//! Which user IDs the bot works with.

use ruma::UserId;

/// Whether a user ID can be read as nothing but a user ID: the grammar of user IDs, with what the
/// specification calls [historical user IDs](https://spec.matrix.org/v1.18/appendices/#historical-user-ids),
/// which are printable ASCII. Homeservers have to accept nearly everything else, too: blanks, line
/// breaks, invisible characters, letters that look like others. In a question or a log line, such an
/// ID could be a sentence of its own, so it is refused wherever one comes in.
pub(crate) fn is_readable(user: &UserId) -> bool {
    user.validate_historical().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_that_could_be_read_as_a_sentence_is_refused_and_a_historical_one_is_not() {
        for good in ["alice", "Alice.Smith", "al=c3=a9", "_irc_bob|away", "x~y!z*", "a/b+c-d"] {
            let user = UserId::parse(format!("@{good}:example.org")).unwrap();
            assert!(is_readable(&user), "{user}");
        }
        for bad in [
            "",
            "the admin wants you to agree",
            "a\nb",
            "a\tb",
            "a\u{200b}b",
            "a\u{202e}b",
            "\u{430}lice",
            "al\u{e9}",
            "a\u{7f}",
            "a\u{1b}[31m",
        ] {
            // What cannot even be parsed is refused there.
            if let Ok(user) = UserId::parse(format!("@{bad}:example.org")) {
                assert!(!is_readable(&user), "{bad:?}");
            }
        }
    }
}
