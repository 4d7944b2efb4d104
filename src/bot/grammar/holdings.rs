//! What a person calls what is copied besides rooms.

use super::{ArgumentProblem as Problem, nearest};
use crate::migration::HoldingKind;

/// Each kind with its words in `skip` and `include`.
pub(crate) const HOLDINGS: [(&str, HoldingKind); 9] = [
    ("profile", HoldingKind::Profile),
    ("room profiles", HoldingKind::RoomProfiles),
    ("ignored people", HoldingKind::IgnoredUsers),
    ("push rules", HoldingKind::PushRules),
    ("emotes", HoldingKind::Emotes),
    ("room settings", HoldingKind::RoomSettings),
    ("settings", HoldingKind::Settings),
    ("direct chats", HoldingKind::DirectChats),
    ("tags", HoldingKind::Tags),
];

/// All of them at once.
const ALL: &str = "data";

/// The words for a kind.
pub(crate) fn holding_name(kind: HoldingKind) -> &'static str {
    HOLDINGS.iter().find(|(_, known)| *known == kind).map_or("", |(name, _)| name)
}

/// Reads the names of kinds, separated by spaces or commas; nothing when the first word does not
/// begin one, so that they are not what is meant.
pub(super) fn holdings(rest: &str) -> Option<Result<Vec<HoldingKind>, Problem>> {
    let words: Vec<String> = rest
        .split([' ', '\t', '\n', ','])
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let mut words = words.as_slice();
    let mut kinds = Vec::new();
    while !words.is_empty() {
        let Some((of_name, rest)) = first(words) else {
            let problem = Problem::NotAHolding(words[0].clone());
            return (!kinds.is_empty()).then_some(Err(problem));
        };
        kinds.extend(of_name);
        words = rest;
    }
    (!kinds.is_empty()).then_some(Ok(kinds))
}

/// The kinds that the first name stands for, and the words after it.
fn first(words: &[String]) -> Option<(Vec<HoldingKind>, &[String])> {
    if words[0] == ALL {
        return Some((HoldingKind::ALL.to_vec(), &words[1..]));
    }
    HOLDINGS.iter().find_map(|(name, kind)| {
        let name: Vec<&str> = name.split(' ').collect();
        let (begin, rest) = words.split_at_checked(name.len())?;
        begin.iter().eq(name.iter()).then(|| (vec![*kind], rest))
    })
}

/// What was perhaps meant by a word that is no room.
pub(super) fn nearest_holding(word: &str) -> Option<&'static str> {
    let names = HOLDINGS.iter().map(|(name, _)| *name).chain([ALL]);
    nearest(&word.to_lowercase(), names.map(|name| (name, name)))
}
