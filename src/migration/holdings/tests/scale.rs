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
