//! Which device gets what, when, and why not.
pub mod select;
pub mod why;
