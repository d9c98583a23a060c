//! The program `rota-server`.
#![forbid(unsafe_code)]

fn main() {}
