//! Push rules: comparing two accounts', rewriting those that name the old user ID, and where in
//! the order a rule goes ([spec](https://spec.matrix.org/v1.18/client-server-api/#push-rules)).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ruma::{
    UserId,
    push::{
        Action, NewConditionalPushRule, NewPatternedPushRule, NewPushRule, NewSimplePushRule,
        RuleKind, Ruleset,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Lack, Trio};

/// The kinds of rules, in the order in which they count.
pub(super) const KINDS: [RuleKind; 5] =
    [RuleKind::Override, RuleKind::Content, RuleKind::Room, RuleKind::Sender, RuleKind::Underride];

/// One rule, in whatever form the account has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PushRule {
    pub(crate) rule_id: String,
    #[serde(default)]
    pub(crate) default: bool,
    pub(crate) enabled: bool,
    #[serde(default)]
    pub(crate) actions: Vec<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) conditions: Option<Vec<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pattern: Option<String>,
}

impl PushRule {
    fn is_predefined(&self) -> bool {
        self.default || self.rule_id.starts_with('.')
    }

    /// The rule as it is sent.
    ///
    /// # Errors
    ///
    /// When it is none that ruma knows how to send.
    pub(super) fn to_new(&self, kind: &RuleKind) -> Result<NewPushRule, serde_json::Error> {
        let (rule_id, actions) = (self.rule_id.clone(), self.typed_actions()?);
        let conditional = |rule_id, actions| {
            let conditions = Value::Array(self.conditions.clone().unwrap_or_default());
            let conditions = serde_json::from_value(conditions)?;
            Ok::<_, serde_json::Error>(NewConditionalPushRule::new(rule_id, conditions, actions))
        };
        Ok(match kind {
            RuleKind::Override => NewPushRule::Override(conditional(rule_id, actions)?),
            RuleKind::Underride => NewPushRule::Underride(conditional(rule_id, actions)?),
            RuleKind::Content => {
                let pattern = self.pattern.clone().unwrap_or_default();
                NewPushRule::Content(NewPatternedPushRule::new(rule_id, pattern, actions))
            }
            RuleKind::Room => {
                let room_id = serde_json::from_value(json!(rule_id))?;
                NewPushRule::Room(NewSimplePushRule::new(room_id, actions))
            }
            _ => {
                let sender = serde_json::from_value(json!(rule_id))?;
                NewPushRule::Sender(NewSimplePushRule::new(sender, actions))
            }
        })
    }

    /// What it does, without the actions that do nothing.
    pub(super) fn typed_actions(&self) -> Result<Vec<Action>, serde_json::Error> {
        let actions = self.actions.iter().filter(|action| does_something(action));
        actions.map(|action| serde_json::from_value(action.clone())).collect()
    }

    /// Whether it does the same, under the same name.
    pub(super) fn does_as(&self, other: &Self) -> bool {
        self.enabled == other.enabled
            && same_actions(&self.actions, &other.actions)
            && self.conditions.as_deref().unwrap_or_default()
                == other.conditions.as_deref().unwrap_or_default()
            && self.pattern == other.pattern
    }

    /// The same rule for the new account: where it names the old one, it names the new one.
    fn for_new(mut self, kind: &RuleKind, trio: Trio<'_>) -> Self {
        let Trio { old, new, .. } = trio;
        if *kind == RuleKind::Content
            && let Some(pattern) = &mut self.pattern
        {
            // A keyword is its own name, as most clients have it.
            let is_named_so = self.rule_id == *pattern;
            // Who listens for the old account's name wants to know when the new one is named.
            if pattern.eq_ignore_ascii_case(old.localpart()) {
                new.localpart().clone_into(pattern);
            } else {
                *pattern = rename(pattern, old, new);
            }
            if is_named_so {
                self.rule_id.clone_from(pattern);
            }
        }
        self.rule_id = rename(&self.rule_id, old, new);
        self.conditions.iter_mut().flatten().for_each(|condition| rename_in(condition, old, new));
        self
    }
}

/// The push rules of an account, by kind, in the order in which they count.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PushRules(BTreeMap<RuleKind, Vec<PushRule>>);

impl PushRules {
    /// Reads what is in `global` of an account's push rules. A rule that is not as the
    /// specification has it is left out.
    pub(crate) fn read(global: &Value) -> Self {
        let of_kind = |kind: &RuleKind| {
            let rules = global.get(kind.as_str()).and_then(Value::as_array);
            rules
                .into_iter()
                .flatten()
                .filter_map(|rule| PushRule::deserialize(rule).ok())
                .collect()
        };
        Self(KINDS.into_iter().map(|kind| (kind.clone(), of_kind(&kind))).collect())
    }

    fn of_kind(&self, kind: &RuleKind) -> &[PushRule] {
        self.0.get(kind).map(Vec::as_slice).unwrap_or_default()
    }

    /// The account's own rules of one kind.
    fn own(&self, kind: &RuleKind) -> impl Iterator<Item = &PushRule> {
        self.of_kind(kind).iter().filter(|rule| !rule.is_predefined())
    }

    /// The rules of one kind by their names; of several of one name, the first.
    fn by_name(&self, kind: &RuleKind) -> HashMap<&str, &PushRule> {
        let rules = self.of_kind(kind).iter().rev();
        rules.map(|rule| (rule.rule_id.as_str(), rule)).collect()
    }

    /// The rules as the new account would have them.
    fn for_new(&self, kind: &RuleKind, trio: Trio<'_>) -> Vec<PushRule> {
        self.own(kind).map(|rule| rule.clone().for_new(kind, trio)).collect()
    }

    /// What `self` lacks of the old account's own rules of one kind.
    pub(super) fn lack(&self, old: &Self, kind: &RuleKind, trio: Trio<'_>) -> Lack {
        let mut lack = Lack::default();
        let own = self.by_name(kind);
        for rule in old.for_new(kind, trio) {
            match own.get(rule.rule_id.as_str()) {
                None => lack.adds += 1,
                Some(own) if !own.does_as(&rule) => lack.differs += 1,
                Some(_) => {}
            }
        }
        lack
    }

    /// The rules of one kind that `self` has to be given, each with the rule that it goes after;
    /// without one, it goes before all others. They have to be given in this order. Those in
    /// `begun` may have been given in part.
    pub(super) fn missing(
        &self,
        old: &Self,
        kind: &RuleKind,
        trio: Trio<'_>,
        prefer_old: bool,
        begun: &BTreeSet<String>,
    ) -> Vec<(PushRule, Option<String>)> {
        let rules = old.for_new(kind, trio);
        // The new account's own rules count before those that it is given.
        let given: HashSet<&str> = rules.iter().map(|rule| rule.rule_id.as_str()).collect();
        let own = self.own(kind).filter(|own| !given.contains(own.rule_id.as_str()));
        let mut after = own.last().filter(|_| !prefer_old).map(|own| own.rule_id.clone());
        let mut missing = Vec::new();
        let known = self.by_name(kind);
        for rule in rules {
            let rule_id = rule.rule_id.clone();
            let is_missing = match known.get(rule_id.as_str()) {
                None => true,
                Some(own) => (prefer_old || begun.contains(&rule_id)) && !own.does_as(&rule),
            };
            if is_missing {
                missing.push((rule, after));
            }
            after = Some(rule_id);
        }
        missing
    }

    /// What `self` lacks of what the old account chose for the predefined rules.
    pub(super) fn lack_of_predefined(&self, old: &Self) -> Lack {
        let mut lack = Lack::default();
        for (_, _, chosen_by_new) in self.other_choices(old) {
            if chosen_by_new { lack.differs += 1 } else { lack.adds += 1 }
        }
        lack
    }

    /// The predefined rules that `self` has to be changed to, by kind. Those in `begun` may have
    /// been changed in part.
    pub(super) fn predefined_to_change(
        &self,
        old: &Self,
        prefer_old: bool,
        begun: &BTreeSet<String>,
    ) -> Vec<(RuleKind, PushRule)> {
        let is_begun = |rule: &PushRule| begun.contains(&rule.rule_id);
        self.other_choices(old)
            .filter(|(_, rule, by_new)| prefer_old || !by_new || is_begun(rule))
            .map(|(kind, rule, _)| (kind.clone(), rule.clone()))
            .collect()
    }

    /// Predefined rules that the old account changed and `self` has otherwise, and whether `self`
    /// has changed them as well. Rules that `self` does not have are left out: each homeserver has
    /// its own set of them.
    fn other_choices<'a>(
        &'a self,
        old: &'a Self,
    ) -> impl Iterator<Item = (&'a RuleKind, &'a PushRule, bool)> {
        let defaults = predefined();
        old.0.iter().flat_map(move |(kind, rules)| {
            let (known, defaults) = (self.by_name(kind), defaults.by_name(kind));
            let other = rules.iter().filter_map(|rule| {
                let name = rule.rule_id.as_str();
                let own = known.get(name).copied().filter(|own| own.is_predefined())?;
                let default = defaults.get(name);
                // Where the default is not known, what the new account has may be its own choice.
                let is_chosen = |rule| default.is_none_or(|default| !is_as(rule, default));
                (rule.is_predefined() && !is_as(rule, own) && is_chosen(rule))
                    .then(|| (kind, rule, is_chosen(own)))
            });
            other.collect::<Vec<_>>()
        })
    }
}

/// Whether a predefined rule is set like another one.
fn is_as(rule: &PushRule, other: &PushRule) -> bool {
    rule.enabled == other.enabled && same_actions(&rule.actions, &other.actions)
}

/// The predefined rules as an account has them that never changed one
/// ([spec](https://spec.matrix.org/v1.18/client-server-api/#predefined-rules)), and those that were
/// predefined before, which homeservers still have.
fn predefined() -> PushRules {
    let nobody = ruma::user_id!("@nobody:localhost");
    let current = serde_json::to_value(Ruleset::server_default(nobody)).unwrap_or_default();
    let mut rules = PushRules::read(&current);
    let highlight = json!({ "set_tweak": "highlight" });
    let sound = json!({ "set_tweak": "sound", "value": "default" });
    let loud = vec![json!("notify"), highlight.clone(), sound];
    let before = [
        (RuleKind::Override, ".m.rule.contains_display_name", loud.clone()),
        (RuleKind::Override, ".m.rule.roomnotif", vec![json!("notify"), highlight]),
        (RuleKind::Content, ".m.rule.contains_user_name", loud),
        // Synapse's own.
        (RuleKind::Underride, ".im.vector.jitsi", vec![json!("notify")]),
    ];
    for (kind, rule_id, actions) in before {
        let rule_id = rule_id.to_owned();
        let rule = PushRule {
            rule_id,
            default: true,
            enabled: true,
            actions,
            conditions: None,
            pattern: None,
        };
        rules.0.entry(kind).or_default().push(rule);
    }
    rules
}

/// Whether actions have the same effect, in whatever order. Those that clients set before Matrix
/// 1.7 have none, and neither has a highlight that is off.
fn same_actions(some: &[Value], others: &[Value]) -> bool {
    let highlight = json!({ "set_tweak": "highlight" });
    let in_full = json!({ "set_tweak": "highlight", "value": true });
    let normal = |actions: &[Value]| {
        let mut actions: Vec<_> = actions
            .iter()
            .filter(|action| does_something(action))
            .map(|action| if *action == in_full { &highlight } else { action }.to_string())
            .collect();
        actions.sort();
        actions
    };
    normal(some) == normal(others)
}

fn does_something(action: &Value) -> bool {
    let no_highlight = json!({ "set_tweak": "highlight", "value": false });
    *action != "dont_notify" && *action != "coalesce" && *action != no_highlight
}

/// Puts the new user ID in the place of the old one, wherever that stands by itself.
fn rename(text: &str, old: &UserId, new: &UserId) -> String {
    let mut renamed = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(old.as_str()) {
        let (before, found) = rest.split_at(start);
        let after = &found[old.as_str().len()..];
        renamed.push_str(before);
        renamed.push_str(if goes_on(after) { old.as_str() } else { new.as_str() });
        rest = after;
    }
    renamed + rest
}

/// Whether a server name that ends here goes on with `rest`: it is then another server's.
fn goes_on(rest: &str) -> bool {
    let mut rest = rest.chars();
    match rest.next() {
        Some('.' | ':') => rest.next().is_some_and(|next| next.is_ascii_alphanumeric()),
        Some(next) => next.is_ascii_alphanumeric() || next == '-',
        None => false,
    }
}

fn rename_in(value: &mut Value, old: &UserId, new: &UserId) {
    match value {
        Value::String(text) => *text = rename(text, old, new),
        Value::Array(items) => items.iter_mut().for_each(|item| rename_in(item, old, new)),
        Value::Object(fields) => fields.values_mut().for_each(|field| rename_in(field, old, new)),
        _ => {}
    }
}
