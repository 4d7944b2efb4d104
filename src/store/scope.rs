//! Whom a record is about, and so which key it is encrypted with.

use super::StoreError;

/// Whom a record is about. All records of one scope are encrypted with one key, which is gone when
/// the scope is [forgotten](super::Batch::forget): whatever is then left of them on the disk can be
/// read by nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The bot itself, and what names nobody: never forgotten.
    Bot,
    /// The migration of this number. What is written about one that was forgotten is left out.
    Migration(u64),
    /// Somebody, by a [mark](super::Store::person) that does not tell who.
    Person(Mark),
}

/// A keyed hash, which names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub(super) [u8; 32]);

const BOT: u8 = 0;
const MIGRATION: u8 = 1;
const PERSON: u8 = 2;

impl Scope {
    /// Puts it before what is encrypted for it.
    pub(super) fn write(&self, into: &mut Vec<u8>) {
        match self {
            Self::Bot => into.push(BOT),
            Self::Migration(number) => {
                into.push(MIGRATION);
                into.extend(number.to_be_bytes());
            }
            Self::Person(Mark(mark)) => {
                into.push(PERSON);
                into.extend(mark);
            }
        }
    }

    /// What [`write`](Self::write) wrote, and what comes after it.
    pub(super) fn read(from: &[u8]) -> Option<(Self, &[u8])> {
        let (tag, from) = from.split_first()?;
        match *tag {
            BOT => Some((Self::Bot, from)),
            MIGRATION => {
                let (number, rest) = from.split_first_chunk()?;
                Some((Self::Migration(u64::from_be_bytes(*number)), rest))
            }
            PERSON => {
                let (mark, rest) = from.split_first_chunk()?;
                Some((Self::Person(Mark(*mark)), rest))
            }
            _ => None,
        }
    }

    /// What it is called in the list of scopes.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Bot => "bot".to_owned(),
            Self::Migration(number) => format!("migration/{number}"),
            Self::Person(Mark(mark)) => format!("person/{}", hex(mark)),
        }
    }

    /// The scope that is [called](Self::name) so.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name.split_once('/')? {
            ("migration", number) => number.parse().ok().map(Self::Migration),
            ("person", mark) => unhex(mark)?.try_into().ok().map(|mark| Self::Person(Mark(mark))),
            _ => None,
        }
    }
}

/// A key as it is looked at: the number of a migration, which names nobody and is kept as it is, and
/// what only a hash is kept of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    pub(super) number: Option<(u64, &'a str)>,
    pub(super) rest: Option<&'a str>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(key: &'a str) -> Self {
        let (first, rest) = match key.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (key, None),
        };
        // A `+` before it would be read as a number, too.
        let is_number = first.bytes().all(|byte| byte.is_ascii_digit());
        match first.parse().ok().filter(|_| is_number) {
            Some(number) => Self { number: Some((number, first)), rest },
            None => Self { number: None, rest: Some(key) },
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Which scopes there are, by what their records in the database are called.
pub(super) fn registered(
    db: &sled::Db,
    path: &std::path::Path,
) -> Result<std::collections::BTreeSet<Scope>, StoreError> {
    let start = super::raw_key(SCOPES, "");
    let mut scopes = std::collections::BTreeSet::new();
    for record in db.scan_prefix(&start) {
        let (key, _) = record.map_err(|error| StoreError::disk(path, error))?;
        let name = String::from_utf8_lossy(&key[start.len()..]).into_owned();
        let scope = Scope::named(&name);
        scopes.insert(scope.ok_or_else(|| {
            StoreError::damaged(path, SCOPES, &name, "there is no scope of this name")
        })?);
    }
    Ok(scopes)
}

/// The table that lists the scopes, so that a lost key is told from a forgotten one.
pub(super) const SCOPES: &str = "scope";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_is_read_as_it_was_written() {
        for scope in [Scope::Bot, Scope::Migration(17), Scope::Person(Mark([0xab; 32]))] {
            let mut written = Vec::new();
            scope.write(&mut written);
            written.extend(b"rest");
            assert_eq!(Scope::read(&written), Some((scope, &b"rest"[..])));
            if scope != Scope::Bot {
                assert_eq!(Scope::named(&scope.name()), Some(scope));
            }
        }
        for torn in [&b""[..], &[MIGRATION, 1, 2], &[PERSON; 32], &[9]] {
            assert_eq!(Scope::read(torn), None);
        }
    }

    #[test]
    fn only_a_number_is_taken_for_a_number() {
        let number = |key| Parts::of(key).number.map(|(number, _)| number);
        assert_eq!(number("00000000000000000017/!room:a"), Some(17));
        assert_eq!(number("17"), Some(17));
        for other in ["", "/17", "+17", "17a/b", "@17:a", "99999999999999999999999999"] {
            assert_eq!(number(other), None, "{other}");
        }
        assert_eq!(Parts::of("17/a/b").rest, Some("a/b"));
        assert_eq!(Parts::of("@a:b/c").rest, Some("@a:b/c"));
    }
}
