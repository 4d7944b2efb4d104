//! What the comparison of two accounts costs where they hold very much.

use super::*;
use crate::migration::scaling::assert_grows_as_n_log_n;

fn rules(size: usize, enabled: bool) -> Value {
    let rule = |number: usize| {
        json!({
            "rule_id": format!(".r{number}"), "default": number.is_multiple_of(2), "enabled": enabled,
            "actions": ["notify"],
        })
    };
    let own = |number: usize| json!({ "rule_id": format!("r{number}"), "enabled": enabled, "actions": ["notify"] });
    json!({ "override": (0..size).flat_map(|number| [rule(number), own(number)]).collect::<Value>() })
}

#[test]
fn push_rules_are_compared_in_moments_however_many_there_are() {
    let both =
        |size: usize| (PushRules::read(&rules(size, true)), PushRules::read(&rules(size, false)));
    let kind = ruma::push::RuleKind::Override;
    let begun = BTreeSet::new();
    assert_grows_as_n_log_n("push rules", 500, both, |(old, new)| {
        let lack = new.lack(old, &kind, trio());
        assert!(lack.differs > 0);
        let predefined = new.predefined_to_change(old, true, &begun);
        assert!(!predefined.is_empty());
        (new.missing(old, &kind, trio(), true, &begun), predefined)
    });
    assert_grows_as_n_log_n("other push rules", 500, both, |(old, _)| {
        PushRules::default().missing(old, &kind, trio(), false, &begun)
    });
}

#[test]
fn push_rules_that_are_too_large_to_be_read_are_named_and_nothing_else_is_lost() {
    let many = Account::new().push_rules(rules(50_000, true)).data("a", json!({ "b": 1 }));
    for (old, new) in [(&many, &Account::new()), (&many, &many)] {
        let planned = planned(old, new);
        let of_rules: Vec<_> =
            planned.iter().filter(|it| it.holding.kind() == HoldingKind::PushRules).collect();
        let [rules] = of_rules[..] else { panic!("{planned:?}") };
        assert_eq!(rules.treatment, crate::migration::Treatment::TooLarge);
    }
    let data = planned(&many, &Account::new());
    assert!(data.iter().any(|it| it.holding.kind() == HoldingKind::Settings), "{data:?}");
}
