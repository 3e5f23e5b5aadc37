//! Doors: names that only certain modules of the service may use.

use crate::sources::{Source, assert_none, code, says, sources};

/// Names, and the modules that may use them.
struct Door {
    names: &'static [&'static str],
    modules: &'static [&'static str],
}

const DOORS: &[Door] = &[
    // Whatever writes stock, live orders or the waitlist: the lane is their only writer.
    Door {
        names: &[
            "StockChange",
            "NewOrders",
            "NewEntry",
            "write_stock",
            "supersede",
            "sell_orders",
            "insert_orders",
            "release_orders",
            "insert_entries",
            "offer_entries",
            "leave_entries",
        ],
        modules: &["sequencer", "store"],
    },
    // Rows of the audit trail are written with the change that they describe.
    Door {
        names: &["insert_audit"],
        modules: &["sequencer", "store"],
    },
    // Whatever writes payments.
    Door {
        names: &[
            "write_external_payment",
            "take_waiting_payment",
            "take_due_waiting_payments",
            "BeginPayment",
            "PaymentEnd",
            "begin_payment",
            "begin_refund",
            "end_payment",
            "record_refund",
            "abandon_refund",
            "keep_stray_payment",
            "end_stray_payment",
            "adopt_payment",
            "take_over_stale_payments",
        ],
        modules: &["checkout", "store"],
    },
    Door {
        names: &["sea_orm", "entities"],
        modules: &["store"],
    },
    Door {
        names: &["rslock"],
        modules: &["lock"],
    },
    Door {
        names: &[
            "counter!",
            "gauge!",
            "histogram!",
            "describe_counter!",
            "describe_gauge!",
            "describe_histogram!",
        ],
        modules: &["metrics"],
    },
];

/// The names that a file of the service uses although its module may not.
fn door_breaches(source: &Source) -> Vec<String> {
    let Some(module) = source.module() else {
        return Vec::new();
    };
    let (path, code) = (&source.path, code(&source.text));
    let uses = |name: &str| says(&code, name.trim_end_matches('!')) && code.contains(name);
    let mut breaches = Vec::new();
    for door in DOORS.iter().filter(|door| !door.modules.contains(&module)) {
        for name in door.names.iter().filter(|name| uses(name)) {
            breaches.push(format!(
                "{path} uses {name}, which only {:?} may",
                door.modules
            ));
        }
    }
    breaches
}

#[test]
fn only_the_owners_use_what_is_behind_a_door() {
    let breaches: Vec<_> = sources("src").iter().flat_map(door_breaches).collect();
    assert_none(&breaches);
}

#[test]
fn every_name_of_a_door_exists() {
    let sources = sources("src");
    for name in DOORS.iter().flat_map(|door| door.names) {
        let exists = |source: &Source| says(&code(&source.text), name.trim_end_matches('!'));
        assert!(
            sources.iter().any(exists),
            "nothing is called {name} any more"
        );
    }
}

fn planted(path: &str, text: &str) -> usize {
    let (path, text) = (path.to_owned(), text.to_owned());
    door_breaches(&Source { path, text }).len()
}

#[test]
fn a_use_by_another_module_is_found() {
    assert_eq!(planted("src/api.rs", "use sea_orm::Statement;"), 1);
    let counts = "use metrics::counter;\nfn f() { counter!(\"x\"); }";
    assert_eq!(planted("src/api.rs", counts), 1);
    assert_eq!(
        planted("src/jobs/expiry.rs", "t.write_stock(change, now)"),
        1
    );
    assert_eq!(
        planted("src/api/orders/confirm.rs", "store.begin_payment(id)"),
        1
    );
    assert_eq!(
        planted("src/checkout.rs", "self.store.begin_payment(id)"),
        0
    );
    assert_eq!(
        planted("src/sequencer/batch.rs", "t.write_stock(change, now)"),
        0
    );
    assert_eq!(planted("src/api.rs", "// write_stock in a comment"), 0);
}
