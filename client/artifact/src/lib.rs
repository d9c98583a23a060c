//! Reads, writes, signs and verifies `.mender` artifacts.
#![forbid(unsafe_code)]
