//! What may be a password or a token, however it was typed.
//!
//! People send a password the natural way: with a word before it, in code marks, in a message of its
//! own. Whatever may be one is deleted and never quoted; to take a question for a secret costs the
//! person a sentence, to take a secret for a question leaves it there for everybody to read.

/// How many words at the beginning may tell that a secret follows.
const WORDS_BEFORE: usize = 5;

/// What a secret is called, in the languages that the bot's people are likely to type it in.
const NAMES: [&str; 13] = [
    "password",
    "passwort",
    "passwd",
    "passphrase",
    "passcode",
    "kennwort",
    "mot-de-passe",
    "contraseña",
    "wachtwoord",
    "пароль",
    "pwd",
    "token",
    "accesstoken",
];

/// How the tokens of homeservers begin.
const TOKENS: [&str; 6] = ["syt_", "syr_", "mct_", "mcr_", "mat_", "mda"];
/// More bytes than this are in a token.
const TOKEN: usize = 12;
/// How long a word is that nobody types, in characters.
const NOT_TYPED: usize = 32;
/// The groups of a recovery key, and the characters in each.
const KEY_GROUPS: (usize, usize) = (12, 4);

/// Whether a text that is no command may tell a secret.
pub(super) fn may_tell(text: &str) -> bool {
    has_key_or_token(text) || text.split_whitespace().any(nobody_types) || names_one(text)
}

/// Whether there is something in it that looks like a token or a recovery key.
pub(super) fn has_key_or_token(text: &str) -> bool {
    let is_group = |word: &&str| {
        word.len() == KEY_GROUPS.1 && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let groups = text.split_whitespace().filter(is_group).count();
    groups >= KEY_GROUPS.0 || text.split_whitespace().any(is_token)
}

fn is_token(word: &str) -> bool {
    let word = bare(word);
    let begins = |prefix: &&str| {
        word.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
    };
    word.len() > TOKEN && TOKENS.iter().any(|prefix| begins(&prefix))
}

/// Whether a word is long, and of letters and digits.
fn nobody_types(word: &str) -> bool {
    let word = bare(word);
    let is_of = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=+/".contains(&byte);
    word.len() >= NOT_TYPED
        && word.bytes().all(is_of)
        && word.bytes().any(|byte| byte.is_ascii_digit())
        && word.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Whether it begins by naming a secret, and then goes on; or with `login`, whatever is around it.
fn names_one(text: &str) -> bool {
    let words: Vec<_> = text.split_whitespace().collect();
    let goes_on = |at: usize, rest: &str| !rest.is_empty() || words.len() > at + 1;
    words.iter().take(WORDS_BEFORE).enumerate().any(|(at, word)| {
        let word = bare(word).to_lowercase();
        let named = NAMES.iter().filter_map(|name| word.strip_prefix(name));
        let mut found = named.chain((at == 0).then(|| word.strip_prefix("login")).flatten());
        found.any(|rest| goes_on(at, rest.trim_matches(|c: char| !c.is_alphanumeric())))
    })
}

/// Without what is around a word: quotes, code marks, a slash or exclamation mark before it.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}
