//! `rota-migrate`: takes a running Mender device over in place, and gives it back.
//!
//! `plan` looks everything up, `acts` does it and undoes it, `record` remembers what was made, `services` is which client the
//! machine starts. `store` is what Mender's client keeps, in the format that `lmdb` reads.
#![forbid(unsafe_code)]

pub mod acts;
pub mod lmdb;
pub mod place;
pub mod plan;
pub mod record;
pub mod services;
pub mod show;
pub mod store;
pub mod toml;
