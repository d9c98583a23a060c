//! The targets, as the test suite has them.
#[path = "../tests/targets/mod.rs"]
pub mod targets;
