//! What is planned for pairs of accounts. The accounts are read from answers of `/sync`, so that
//! these tests need no homeserver.

mod choices;
mod documented;
mod laws;
mod scale;

use std::collections::BTreeSet;

use ruma::{
    OwnedRoomId,
    api::{IncomingResponse, client::sync::sync_events::v3},
    owned_mxc_uri, owned_room_id, user_id,
};
use serde_json::{Value, json};

use super::{
    Comparison, Copies, Holdings, PlannedHolding, PushRules, Trio, images, merge::merge, plan,
    push_rules::PushRule,
};
use crate::migration::{HoldingKind, Options};

const ROOM: &str = "!room:c.example";

fn trio() -> Trio<'static> {
    Trio {
        old: user_id!("@old:a.example"),
        new: user_id!("@new:b.example"),
        bot: user_id!("@tern:a.example"),
    }
}

/// An account as its homeserver tells of it.
#[derive(Clone, Debug, Default)]
struct Account {
    profile: Value,
    data: Vec<(String, Value)>,
    room_data: Vec<(String, Value)>,
    member: Value,
    push_rules: Value,
}

impl Account {
    fn new() -> Self {
        Self { profile: json!({}), member: json!({}), push_rules: json!({}), ..Self::default() }
    }

    fn profile(self, profile: Value) -> Self {
        Self { profile, ..self }
    }

    fn data(mut self, event_type: &str, content: Value) -> Self {
        self.data.push((event_type.to_owned(), content));
        self
    }

    fn room_data(mut self, event_type: &str, content: Value) -> Self {
        self.room_data.push((event_type.to_owned(), content));
        self
    }

    fn member(self, member: Value) -> Self {
        Self { member, ..self }
    }

    fn push_rules(self, push_rules: Value) -> Self {
        Self { push_rules, ..self }
    }

    fn read(&self, user_id: &ruma::UserId) -> Holdings {
        let event = |(event_type, content): &(String, Value)| json!({ "type": event_type, "content": content });
        let rules = ("m.push_rules".to_owned(), json!({ "global": self.push_rules }));
        let data: Vec<_> = self.data.iter().chain([&rules]).map(event).collect();
        let room_data: Vec<_> = self.room_data.iter().map(event).collect();
        let mut member = self.member.clone();
        member["membership"] = json!("join");
        let sync = json!({
            "next_batch": "s",
            "account_data": { "events": data },
            "rooms": { "join": { ROOM: {
                "account_data": { "events": room_data },
                "state": { "events": [{
                    "type": "m.room.member", "state_key": user_id, "sender": user_id,
                    "event_id": "$member", "origin_server_ts": 1, "content": member,
                }] },
            } } },
        });
        let answer = ruma::exports::http::Response::new(serde_json::to_vec(&sync).unwrap());
        let answer = v3::Response::try_from_http_response(answer).unwrap();
        let mut holdings = Holdings::read(user_id, &answer);
        holdings.profile = Some(serde_json::from_value(self.profile.clone()).unwrap());
        holdings
    }
}

fn planned(old: &Account, new: &Account) -> Vec<PlannedHolding> {
    planned_after(old, new, &Copies::new())
}

fn planned_after(old: &Account, new: &Account, copies: &Copies) -> Vec<PlannedHolding> {
    let rooms: BTreeSet<OwnedRoomId> = [owned_room_id!("!room:c.example")].into();
    plan(&Comparison {
        trio: trio(),
        old: &old.read(trio().old),
        new: &new.read(trio().new),
        copies,
        rooms: &rooms,
    })
}

/// A line for each.
fn lines(planned: &[PlannedHolding]) -> String {
    let line = |planned: &PlannedHolding| {
        let PlannedHolding { holding, adds, differs, treatment } = planned;
        format!("{holding:?}: {treatment:?}, adds {adds}, differs {differs}")
    };
    planned.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_profile_is_copied_where_the_new_account_has_none() {
    let old = Account::new().profile(json!({
        "displayname": "Alice", "avatar_url": "mxc://a.example/face",
        "m.tz": "Europe/Paris", "org.example.pronouns": "she",
    }));
    // Homeservers give a new account its localpart for a name.
    let new = Account::new().profile(json!({ "displayname": "new", "m.tz": null }));
    insta::assert_snapshot!(lines(&planned(&old, &new)), @r#"
    DisplayName: Add, adds 1, differs 0
    Avatar: Add, adds 1, differs 0
    ProfileField("m.tz"): Add, adds 1, differs 0
    ProfileField("org.example.pronouns"): Add, adds 1, differs 0
    "#);
}

#[test]
fn a_profile_of_the_new_accounts_own_stays() {
    let old = Account::new().profile(json!({
        "displayname": "Alice", "avatar_url": "mxc://a.example/face", "m.tz": "Europe/Paris",
    }));
    let new = Account::new().profile(json!({
        "displayname": "Alice B.", "avatar_url": "mxc://b.example/other", "m.tz": "Europe/Paris",
    }));
    insta::assert_snapshot!(lines(&planned(&old, &new)), @r"
    DisplayName: KeepOwn, adds 0, differs 1
    Avatar: KeepOwn, adds 0, differs 1
    ");
}

#[test]
fn a_name_that_is_only_the_user_id_is_no_name() {
    let old = Account::new().profile(json!({ "displayname": "old" }));
    assert_eq!(planned(&old, &Account::new()), []);
}

#[test]
fn an_avatar_that_was_copied_before_is_known_by_its_copy() {
    let old = Account::new().profile(json!({ "avatar_url": "mxc://a.example/face" }));
    let new = Account::new().profile(json!({ "avatar_url": "mxc://b.example/copy" }));
    let copies = Copies::from([(
        owned_mxc_uri!("mxc://a.example/face"),
        owned_mxc_uri!("mxc://b.example/copy"),
    )]);
    assert_eq!(planned_after(&old, &new, &copies), []);
}

#[test]
fn a_name_of_one_room_is_one_that_differs_from_the_profile() {
    let profile = json!({ "displayname": "Alice", "avatar_url": "mxc://a.example/face" });
    let old = |member| Account::new().profile(profile.clone()).member(member);
    let new = Account::new().profile(profile.clone()).member(json!({ "displayname": "Alice" }));
    let own = old(json!({ "displayname": "Ally", "avatar_url": "mxc://a.example/mask" }));
    insta::assert_snapshot!(lines(&planned(&own, &new)), @r#"RoomProfile("!room:c.example"): Add, adds 2, differs 0"#);
    let same = old(profile.clone());
    assert_eq!(planned(&same, &new), []);
    // Left over from before the account had a name.
    let stale = old(json!({ "displayname": "old" }));
    assert_eq!(planned(&stale, &new), []);
    let both = new.member(json!({ "displayname": "Lady A." }));
    insta::assert_snapshot!(lines(&planned(&own, &both)), @r#"RoomProfile("!room:c.example"): Add, adds 1, differs 1"#);
}

#[test]
fn names_that_the_new_account_has_in_rooms_are_not_written_over_by_a_new_profile() {
    let old = Account::new().profile(json!({ "displayname": "Alice", "m.tz": "Europe/Paris" }));
    let new = Account::new().member(json!({ "displayname": "The Mask" }));
    insta::assert_snapshot!(lines(&planned(&old, &new)), @r#"
    DisplayName: KeepOwn, adds 0, differs 1
    ProfileField("m.tz"): Add, adds 1, differs 0
    "#);
}

#[test]
fn ignored_people_are_added_but_for_those_who_take_part() {
    let ignoring = |users: &[&str]| {
        let users: Value = users.iter().map(|user| ((*user).to_owned(), json!({}))).collect();
        Account::new().data("m.ignored_user_list", json!({ "ignored_users": users }))
    };
    let old = ignoring(&["@spam:c.example", "@both:c.example", "@new:b.example"]);
    let new = ignoring(&["@both:c.example", "@own:c.example"]);
    insta::assert_snapshot!(lines(&planned(&old, &new)), @r#"AccountData("m.ignored_user_list"): Add, adds 1, differs 0"#);
    let only_trio = ignoring(&["@old:a.example", "@new:b.example", "@tern:a.example"]);
    assert_eq!(planned(&only_trio, &new), []);
}

#[test]
fn every_type_of_account_data_is_copied_but_keys_secrets_and_what_has_its_own_way() {
    let old = Account::new()
        .data("im.vector.web.settings", json!({ "theme": "dark", "font": 12 }))
        .data("org.example.unheard_of", json!({ "a": [1] }))
        .data("org.example.emptied", json!({}))
        .data("io.element.recent_emoji", json!({ "recent_emoji": [["😀", 3]] }))
        .data("m.cross_signing.master", json!({ "encrypted": {} }))
        .data("m.secret_storage.default_key", json!({ "key": "abc" }))
        .data("m.megolm_backup.v1", json!({ "encrypted": {} }))
        .data("m.identity_server", json!({ "base_url": "https://id.example" }))
        .data("m.accepted_terms", json!({ "accepted": [] }))
        .data("m.direct", json!({ "@bob:c.example": [ROOM] }))
        .data("org.example.secret", json!({ "encrypted": { "abc": {} } }))
        .room_data("m.tag", json!({ "tags": { "m.favourite": {} } }))
        .room_data("m.fully_read", json!({ "event_id": "$read" }))
        .room_data("org.matrix.msc3230.space_order", json!({ "order": "a" }))
        .room_data("m.marked_unread", json!({ "unread": true }));
    let new = Account::new().data("im.vector.web.settings", json!({ "theme": "light" }));
    insta::assert_snapshot!(lines(&planned(&old, &new)), @r#"
    AccountData("im.vector.web.settings"): Add, adds 1, differs 1
    AccountData("io.element.recent_emoji"): Add, adds 1, differs 0
    AccountData("org.example.unheard_of"): Add, adds 1, differs 0
    RoomAccountData { room_id: "!room:c.example", event_type: "m.marked_unread" }: Add, adds 1, differs 0
    RoomAccountData { room_id: "!room:c.example", event_type: "org.matrix.msc3230.space_order" }: Add, adds 1, differs 0
    "#);
}

#[test]
fn account_data_of_the_new_accounts_own_stays() {
    let account = |value: &str| {
        Account::new()
            .data("org.example.setting", json!({ "value": value }))
            .room_data("m.space_order", json!({ "order": value }))
    };
    insta::assert_snapshot!(lines(&planned(&account("a"), &account("b"))), @r#"
    AccountData("org.example.setting"): KeepOwn, adds 0, differs 1
    RoomAccountData { room_id: "!room:c.example", event_type: "m.space_order" }: KeepOwn, adds 0, differs 1
    "#);
    assert_eq!(planned(&account("a"), &account("a")), []);
}

#[test]
fn a_room_that_is_marked_as_read_is_not_marked() {
    let marked = |unread| Account::new().room_data("m.marked_unread", json!({ "unread": unread }));
    assert_eq!(planned(&marked(false), &Account::new()), []);
    assert_eq!(planned(&marked(true), &marked(false)).len(), 1);
}

#[test]
fn data_that_is_too_large_is_named_and_not_kept() {
    let old = Account::new().data("org.example.huge", json!({ "a": "x".repeat(2 << 20) }));
    insta::assert_snapshot!(lines(&planned(&old, &Account::new())), @r#"AccountData("org.example.huge"): TooLarge, adds 1, differs 0"#);
}

#[test]
fn what_the_person_chose_decides_what_is_done() {
    let old = Account::new()
        .profile(json!({ "displayname": "Alice", "m.tz": "Europe/Paris" }))
        .data("m.ignored_user_list", json!({ "ignored_users": { "@spam:c.example": {} } }))
        .data("org.example.setting", json!({ "value": "old" }));
    let new = Account::new()
        .profile(json!({ "displayname": "Alice B." }))
        .data("org.example.setting", json!({ "value": "new" }));
    let options = Options {
        prefer_old: true,
        skipped_holdings: [HoldingKind::IgnoredUsers].into(),
        ..Options::default()
    };
    let mut planned = planned(&old, &new);
    planned.iter_mut().for_each(|planned| planned.choose(&options));
    insta::assert_snapshot!(lines(&planned), @r#"
    DisplayName: Replace, adds 0, differs 1
    ProfileField("m.tz"): Add, adds 1, differs 0
    AccountData("m.ignored_user_list"): Skip, adds 1, differs 0
    AccountData("org.example.setting"): Replace, adds 0, differs 1
    "#);
}

fn merged(event_type: &str, old: Value, new: Value, prefer_old: bool) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { panic!("not objects") };
    merge(event_type, trio(), old, new, prefer_old).0.into()
}

#[test]
fn emote_packs_are_merged_by_shortcode() {
    let pack = |images: Value| json!({ "images": images, "pack": { "display_name": "Mine" } });
    let old = pack(json!({ "cat": { "url": "mxc://a.example/cat", "info": {} }, "dog": {} }));
    let new = json!({ "images": { "cat": { "url": "mxc://b.example/cat" } } });
    assert_eq!(
        merged("im.ponies.user_emotes", old.clone(), new.clone(), false),
        pack(json!({ "cat": { "url": "mxc://b.example/cat" }, "dog": {} }))
    );
    assert_eq!(merged("im.ponies.user_emotes", old.clone(), new, true), old);
    let rooms = |room: &str, pack: &str| json!({ "rooms": { room: { pack: {} } } });
    assert_eq!(
        merged("im.ponies.emote_rooms", rooms("!a:a", "x"), rooms("!a:a", "y"), false),
        json!({ "rooms": { "!a:a": { "x": {}, "y": {} } } })
    );
}

#[test]
fn a_pack_whose_images_were_copied_is_the_same_pack() {
    let pack = |cat: &str| {
        let info = json!({ "thumbnail_url": cat, "w": 8 });
        let images = json!({ "cat": { "url": cat, "info": info } });
        let about = json!({ "avatar_url": cat, "display_name": "Mine" });
        Account::new().data("im.ponies.user_emotes", json!({ "images": images, "pack": about }))
    };
    let (old, new) = (pack("mxc://a.example/cat"), pack("mxc://b.example/copy"));
    let copies = Copies::from([(
        owned_mxc_uri!("mxc://a.example/cat"),
        owned_mxc_uri!("mxc://b.example/copy"),
    )]);
    assert_eq!(planned_after(&old, &new, &copies), []);
    assert_eq!(planned_after(&old, &old, &copies), [], "also before they were put in place");
    assert_eq!(planned(&old, &new).len(), 1, "without a copy they are other images");
}

#[test]
fn images_are_found_wherever_a_pack_names_them_and_only_those_of_the_old_server_are_copied() {
    let Value::Object(mut pack) = json!({
        "images": {
            "cat": { "url": "mxc://a.example/cat", "info": { "thumbnail_url": "mxc://a.example/s" } },
            "dog": { "url": "mxc://elsewhere.example/dog" },
            "own": { "url": "mxc://b.example/own" },
            "odd": { "url": ["mxc://a.example/listed", "mxc://a.example", 7, "a.example/x"] },
        },
        "pack": { "avatar_url": "mxc://a.example/face" },
    }) else {
        panic!("no object")
    };
    let found = images::on_server(&pack, trio().old.server_name());
    let found: Vec<_> = found.iter().map(|uri| uri.as_str()).collect();
    let expected = ["cat", "face", "listed", "s"].map(|id| format!("mxc://a.example/{id}"));
    assert_eq!(found, expected);
    let copies = Copies::from([(
        owned_mxc_uri!("mxc://a.example/cat"),
        owned_mxc_uri!("mxc://b.example/copy"),
    )]);
    images::replace(&mut pack, &copies);
    assert_eq!(pack["images"]["cat"]["url"], "mxc://b.example/copy");
    assert_eq!(pack["pack"]["avatar_url"], "mxc://a.example/face", "of which there is no copy");
}

#[test]
fn no_more_images_are_copied_than_a_run_may() {
    let mut allowance = images::Allowance::default();
    for _ in 0..500 {
        assert!(!allowance.is_used_up());
        allowance.use_up(1);
    }
    assert!(allowance.is_used_up(), "by their number");
    let mut allowance = images::Allowance::default();
    allowance.use_up(200 << 20);
    assert!(allowance.is_used_up(), "by their size");
}

#[test]
fn a_profile_that_could_not_be_read_is_told() {
    let unread = |account: Account, user_id| {
        let mut holdings = account.read(user_id);
        holdings.profile = None;
        holdings
    };
    let named = || Account::new().profile(json!({ "displayname": "Alice" }));
    for (old, new) in [
        (unread(named(), trio().old), named().read(trio().new)),
        (named().read(trio().old), unread(named(), trio().new)),
    ] {
        let copies = Copies::new();
        let (trio, rooms) = (trio(), BTreeSet::new());
        let comparison = Comparison { trio, old: &old, new: &new, copies: &copies, rooms: &rooms };
        assert_eq!(lines(&plan(&comparison)), "Profile: Unreadable, adds 1, differs 0");
    }
}

#[test]
fn recent_emoji_come_after_the_new_accounts_own() {
    let recent = |entries: Value| json!({ "recent_emoji": entries });
    assert_eq!(
        merged(
            "io.element.recent_emoji",
            recent(json!([["😀", 9], ["🎉", 2]])),
            recent(json!([["🎉", 1]])),
            false
        ),
        recent(json!([["🎉", 1], ["😀", 9]]))
    );
    assert_eq!(
        merged("m.recent_emoji", recent(json!([{ "emoji": "😀", "total": 9 }])), json!({}), false),
        recent(json!([{ "emoji": "😀", "total": 9 }]))
    );
}

fn rule(rule_id: &str) -> Value {
    json!({ "rule_id": rule_id, "default": false, "enabled": true, "actions": [] })
}

fn with(mut rule: Value, field: &str, value: Value) -> Value {
    rule[field] = value;
    rule
}

/// The rules of one kind that the new account gets, each after which.
fn given(kind: &str, old: Value, new: Value, prefer_old: bool) -> Vec<(PushRule, Option<String>)> {
    let old = PushRules::read(&json!({ kind: old }));
    let new = PushRules::read(&json!({ kind: new }));
    new.missing(&old, &kind.into(), trio(), prefer_old, &BTreeSet::new())
}

fn places(given: &[(PushRule, Option<String>)]) -> Vec<(&str, Option<&str>)> {
    given.iter().map(|(rule, after)| (rule.rule_id.as_str(), after.as_deref())).collect()
}

#[test]
fn push_rules_keep_their_order_after_the_new_accounts_own() {
    let old = json!([rule("1"), rule("2"), rule("3"), rule(".m.rule.master")]);
    let given_to = |new: Value| given("override", old.clone(), new, false);
    assert_eq!(places(&given_to(json!([]))), [("1", None), ("2", Some("1")), ("3", Some("2"))]);
    assert_eq!(
        places(&given_to(json!([rule("own"), rule("2")]))),
        [("1", Some("own")), ("3", Some("2"))]
    );
}

#[test]
fn a_push_rule_of_the_new_accounts_own_stays_unless_the_old_one_is_preferred() {
    let old = json!([with(rule("1"), "enabled", json!(false))]);
    let new = json!([rule("1")]);
    assert_eq!(given("room", old.clone(), new.clone(), false), []);
    let given = given("room", old, new, true);
    assert_eq!(places(&given), [("1", None)]);
    assert!(!given[0].0.enabled);
}

#[test]
fn push_rules_that_name_the_old_account_name_the_new_one() {
    let conditions = json!([
        { "kind": "event_match", "key": "sender", "pattern": "@old:a.example" },
        { "kind": "event_match", "key": "content.body", "pattern": "*@old:a.example,*" },
        { "kind": "event_match", "key": "sender", "pattern": "@old:a.example.org" },
        { "kind": "event_match", "key": "sender", "pattern": "@old:a.example:8448" },
    ]);
    let named = with(rule("about @old:a.example"), "conditions", conditions);
    let given_override = given("override", json!([named]), json!([]), false);
    assert_eq!(given_override[0].0.rule_id, "about @new:b.example");
    assert_eq!(
        given_override[0].0.conditions.as_ref().unwrap(),
        json!([
            { "kind": "event_match", "key": "sender", "pattern": "@new:b.example" },
            { "kind": "event_match", "key": "content.body", "pattern": "*@new:b.example,*" },
            { "kind": "event_match", "key": "sender", "pattern": "@old:a.example.org" },
            { "kind": "event_match", "key": "sender", "pattern": "@old:a.example:8448" },
        ])
        .as_array()
        .unwrap()
    );
    let sender = given("sender", json!([rule("@old:a.example")]), json!([]), false);
    assert_eq!(places(&sender), [("@new:b.example", None)]);
    let keywords = json!([
        with(rule("Old"), "pattern", json!("Old")),
        with(rule("older"), "pattern", json!("older")),
    ]);
    let content = given("content", keywords, json!([]), false);
    assert_eq!(places(&content), [("new", None), ("older", Some("new"))]);
    assert_eq!(content[0].0.pattern.as_deref(), Some("new"));
}

#[test]
fn predefined_rules_are_changed_where_only_the_old_account_changed_them() {
    let predefined = |rule_id: &str, enabled: bool, actions: Value| json!({ "rule_id": rule_id, "default": true, "enabled": enabled, "actions": actions });
    let sound = || json!(["notify", { "set_tweak": "sound", "value": "default" }]);
    let fresh = |kind: &str| {
        json!({ kind: [
        predefined(".m.rule.message", true, json!(["notify"])),
        predefined(".m.rule.encrypted", true, json!(["notify"])),
        predefined(".m.rule.room_one_to_one", true, sound()),
    ] })
    };
    let old = Account::new().push_rules(json!({ "underride": [
        predefined(".m.rule.message", false, json!(["notify"])),
        // What clients wrote before Matrix 1.7; it changes nothing.
        predefined(".m.rule.encrypted", true, json!(["notify", "coalesce"])),
        predefined(".m.rule.room_one_to_one", true, json!(["notify"])),
        predefined(".org.example.not_there", false, json!([])),
    ] }));
    let new = Account::new().push_rules(fresh("underride"));
    insta::assert_snapshot!(lines(&planned(&old, &new)), @"PredefinedPushRules: Add, adds 2, differs 0");
    assert_eq!(planned(&new, &old), [], "an account at its defaults has nothing to give");
    let changed = Account::new().push_rules(json!({ "underride": [
        predefined(".m.rule.message", true, json!([])),
    ] }));
    insta::assert_snapshot!(lines(&planned(&old, &changed)), @"PredefinedPushRules: KeepOwn, adds 0, differs 1");
}

#[test]
fn an_account_of_malformed_data_costs_what_is_malformed() {
    let old = Account::new()
        .profile(json!({ "displayname": 7, "avatar_url": "https://a.example/face.png" }))
        .data("org.example.list", json!([1, 2]))
        .data("m.ignored_user_list", json!({ "ignored_users": "everybody" }))
        .data("org.example.setting", json!({ "a": 1 }))
        .push_rules(json!({ "override": [{ "rule_id": "no rest" }], "content": "none" }));
    insta::assert_snapshot!(lines(&planned(&old, &Account::new())), @r#"
    AccountData("m.ignored_user_list"): Add, adds 1, differs 0
    AccountData("org.example.setting"): Add, adds 1, differs 0
    "#);
}
