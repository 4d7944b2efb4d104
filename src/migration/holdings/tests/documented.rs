//! Every kind of holding, and everything that can be done about it, stands in `docs/holdings.md`.

use crate::migration::{
    HoldingKind, Treatment,
    plan::documented::{assert_complete, key},
};

#[test]
fn the_table_of_holdings_is_complete_and_names_tests_that_exist() {
    let treatments = [
        Treatment::Add,
        Treatment::Replace,
        Treatment::KeepOwn,
        Treatment::Skip,
        Treatment::TooLarge,
        Treatment::Unreadable,
    ];
    // A treatment that is added fails to compile here, and belongs into the list.
    for treatment in &treatments {
        match treatment {
            Treatment::Add
            | Treatment::Replace
            | Treatment::KeepOwn
            | Treatment::Skip
            | Treatment::TooLarge
            | Treatment::Unreadable => {}
        }
    }
    let kinds = HoldingKind::ALL.iter().map(key);
    assert_complete("docs/holdings.md", kinds.chain(treatments.iter().map(key)).collect());
}
