//! The program `rota-server`.
#![forbid(unsafe_code)]

fn main() {
    if let Err(error) = rota_server::cli::run() {
        eprintln!("rota-server: {error:#}");
        std::process::exit(1);
    }
}
