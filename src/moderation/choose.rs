//! Whom to ask, and how: pure functions of how a room stands.

use std::{cmp::Reverse, collections::BTreeSet};

use ruma::{
    OwnedUserId, UserId,
    events::room::{
        member::MembershipState,
        power_levels::{RoomPowerLevels, UserPowerLevel},
    },
};

use super::record::Way;

/// How many moderators are asked by name.
const MOST_ASKED: usize = 5;

/// How a room stands, as far as it decides how to ask.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// How the new account stands to the room.
    pub(super) new: Option<MembershipState>,
    /// Whether everybody may join.
    pub(super) public: bool,
    /// Whether the join rule lets people knock, and the bot may act as the new account.
    pub(super) may_knock: bool,
    /// Whether the old account is in the room.
    pub(super) old_is_in: bool,
    /// Whether the old account may speak there.
    pub(super) may_speak: bool,
    /// Whether what it says can be what the room expects: encrypted, in an encrypted room.
    pub(super) can_be_read: bool,
    /// Members of the room that may invite, those to ask first first.
    pub(super) moderators: Vec<OwnedUserId>,
}

/// What to do about a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Nobody has to be asked: the new account can get in.
    Opened,
    /// These moderators are asked in this way; so many more may invite.
    Ask {
        /// How.
        way: Way,
        /// Who is named.
        asked: Vec<OwnedUserId>,
        /// How many more there are.
        more: usize,
    },
    /// The old account is not in the room any more.
    OutOfRoom,
    /// There is nobody who could be asked, or no way to.
    Nobody,
}

/// The best way that is open, of those that did not fail before.
pub(super) fn choose(setting: &Setting, failed: &BTreeSet<Way>) -> Choice {
    let is_let_in = matches!(setting.new, Some(MembershipState::Invite | MembershipState::Join));
    if is_let_in || setting.public {
        return Choice::Opened;
    }
    let way = |way| !failed.contains(&way);
    if setting.may_knock && way(Way::Knock) {
        return ask(Way::Knock, setting, MOST_ASKED);
    }
    if !setting.old_is_in {
        return Choice::OutOfRoom;
    }
    if setting.moderators.is_empty() {
        return Choice::Nobody;
    }
    if setting.may_speak && setting.can_be_read && way(Way::Message) {
        return ask(Way::Message, setting, MOST_ASKED);
    }
    if way(Way::DirectMessage) {
        return ask(Way::DirectMessage, setting, 1);
    }
    Choice::Nobody
}

fn ask(way: Way, setting: &Setting, most: usize) -> Choice {
    let asked: Vec<_> = setting.moderators.iter().take(most).cloned().collect();
    let more = setting.moderators.len() - asked.len();
    Choice::Ask { way, asked, more }
}

/// Of `members`, those that may invite: people before bots, and the most powerful first.
pub(super) fn moderators(
    levels: &RoomPowerLevels,
    members: impl IntoIterator<Item = OwnedUserId>,
    besides: &[&UserId],
) -> Vec<OwnedUserId> {
    let mut moderators: Vec<_> = members
        .into_iter()
        .filter(|user| levels.user_can_invite(user) && !besides.contains(&&**user))
        .collect();
    moderators.sort_by_cached_key(|user| {
        let level = match levels.for_user(user) {
            UserPowerLevel::Int(level) => i64::from(level),
            // A creator's power is above all numbers.
            _ => i64::MAX,
        };
        (is_bot(user), Reverse(level), user.clone())
    });
    moderators
}

/// Those who might be able to invite, whether or not they are in the room: all whose power the
/// room names.
pub(super) fn named_with_power(
    levels: &RoomPowerLevels,
    creators: &BTreeSet<OwnedUserId>,
) -> BTreeSet<OwnedUserId> {
    let named = levels.users.keys().chain(creators);
    named.filter(|user| levels.user_can_invite(user)).cloned().collect()
}

/// Whether an account looks like a program's. Nothing says for sure; it only decides the order.
fn is_bot(user: &UserId) -> bool {
    let name = user.localpart().to_lowercase();
    let is_word = |word: &str| word == "bot" || word == "bridge";
    name.starts_with('_')
        || name.ends_with("bot")
        || name.split(|c: char| !c.is_ascii_alphanumeric()).any(is_word)
}

#[cfg(test)]
mod tests {
    use ruma::{
        events::room::power_levels::{RoomPowerLevelsEventContent, RoomPowerLevelsSource},
        owned_user_id,
        room_version_rules::{AuthorizationRules, RoomVersionRules},
        user_id,
    };

    use super::*;

    fn levels(rules: &AuthorizationRules, creator: &UserId) -> RoomPowerLevels {
        let content: RoomPowerLevelsEventContent = serde_json::from_value(serde_json::json!({
            "invite": 50,
            "users": {
                "@admin:a": 100, "@mod:a": 50, "@modbot:a": 100, "@_irc_bridge:a": 100,
                "@old:a": 0, "@gone:a": 100,
            },
        }))
        .unwrap();
        let source = RoomPowerLevelsSource::from(Some(content));
        RoomPowerLevels::new(source, rules, [creator.to_owned()])
    }

    fn setting() -> Setting {
        Setting {
            new: None,
            public: false,
            may_knock: false,
            old_is_in: true,
            may_speak: true,
            can_be_read: true,
            moderators: (0..7)
                .map(|number| format!("@mod{number}:a").try_into().unwrap())
                .collect(),
        }
    }

    fn way_of(choice: &Choice) -> Option<Way> {
        match choice {
            Choice::Ask { way, .. } => Some(*way),
            _ => None,
        }
    }

    #[test]
    fn people_come_before_bots_and_power_before_less() {
        let levels = levels(&RoomVersionRules::V11.authorization, user_id!("@creator:a"));
        let members = [
            owned_user_id!("@modbot:a"),
            owned_user_id!("@mod:a"),
            owned_user_id!("@_irc_bridge:a"),
            owned_user_id!("@old:a"),
            owned_user_id!("@admin:a"),
            owned_user_id!("@creator:a"),
        ];
        let found = moderators(&levels, members, &[user_id!("@nobody:a")]);
        assert_eq!(found, ["@admin:a", "@mod:a", "@_irc_bridge:a", "@modbot:a"]);
    }

    #[test]
    fn creators_of_a_room_of_version_12_count_and_come_first() {
        let rules = RoomVersionRules::V12.authorization;
        let creator = user_id!("@creator:a");
        let levels = levels(&rules, creator);
        let named = named_with_power(&levels, &[creator.to_owned()].into());
        assert!(named.contains(creator) && !named.contains(user_id!("@old:a")));
        let found = moderators(&levels, named, &[]);
        assert_eq!(found[0], "@creator:a");
    }

    #[test]
    fn at_most_five_are_named_and_the_rest_is_counted() {
        let Choice::Ask { way, asked, more } = choose(&setting(), &BTreeSet::new()) else {
            panic!("somebody is to be asked");
        };
        assert_eq!((way, asked.len(), more), (Way::Message, 5, 2));
    }

    #[test]
    fn the_best_way_that_is_open_is_taken() {
        let none = BTreeSet::new();
        let knock = Setting { may_knock: true, ..setting() };
        assert_eq!(way_of(&choose(&knock, &none)), Some(Way::Knock));
        assert_eq!(way_of(&choose(&knock, &[Way::Knock].into())), Some(Way::Message));
        let silent = Setting { may_speak: false, ..setting() };
        let unreadable = Setting { can_be_read: false, ..setting() };
        for setting in [silent, unreadable] {
            let choice = choose(&setting, &none);
            assert_eq!(way_of(&choice), Some(Way::DirectMessage));
            assert!(matches!(choice, Choice::Ask { asked, more: 6, .. } if asked.len() == 1));
        }
        let all = [Way::Knock, Way::Message, Way::DirectMessage].into();
        assert_eq!(choose(&setting(), &all), Choice::Nobody);
    }

    #[test]
    fn nobody_is_asked_without_need_or_where_nobody_can_answer() {
        let none = BTreeSet::new();
        for new in [MembershipState::Invite, MembershipState::Join] {
            let setting = Setting { new: Some(new), ..setting() };
            assert_eq!(choose(&setting, &none), Choice::Opened);
        }
        assert_eq!(choose(&Setting { public: true, ..setting() }, &none), Choice::Opened);
        let alone = Setting { moderators: Vec::new(), ..setting() };
        assert_eq!(choose(&alone, &none), Choice::Nobody);
        let gone = Setting { old_is_in: false, ..setting() };
        assert_eq!(choose(&gone, &none), Choice::OutOfRoom);
        let knocks = Setting { may_knock: true, moderators: Vec::new(), ..setting() };
        assert_eq!(way_of(&choose(&knocks, &none)), Some(Way::Knock));
    }
}
