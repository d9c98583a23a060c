//! The program `rota-qemu`.
#![forbid(unsafe_code)]

fn main() {}
