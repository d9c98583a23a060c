//! The targets, as the test suite has them.
#[path = "../tests/common/craft.rs"]
pub mod craft;
#[path = "../tests/targets/mod.rs"]
pub mod targets;
