//! The program `rota`.

fn main() {}
