//! The API: every operation with its success and its errors, the description against the routes, and who may call what.
#[path = "../common/mod.rs"]
mod common;

mod artifacts;
mod coverage;
mod deployments;
mod device;
mod devices;
mod events;
mod inventory;
mod openapi;
mod releases;
mod security;
mod throttle;
mod users;

pub use coverage::observe;

/// All sections at once, each with a server of its own; then the table of what they covered.
#[test]
fn every_operation_keeps_its_contract() {
    let sections: [fn(); 8] = [
        users::section,
        devices::section,
        inventory::section,
        artifacts::section,
        releases::section,
        deployments::section,
        device::section,
        events::section,
    ];
    std::thread::scope(|scope| {
        for section in sections {
            scope.spawn(section);
        }
    });
    coverage::report();
}
