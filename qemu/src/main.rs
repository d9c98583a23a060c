//! The program `rota-qemu`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use rota_qemu::kind::Maker;

const USAGE: &str = "usage: rota-qemu demo [--once] [--machine KIND] | board NAME [LAYERS] | soak KIND COUNT
  demo    shows a good update and three bad ones on a virtual machine, and keeps it running
          --once           ends after the last step; the exit status says whether all steps went well
          --machine KIND   another machine than x86_64
  board   makes the disk image of qemux86-64 or qemuarm64 with genimage, starts it, updates it, and lets it fall back
          LAYERS           with wic instead, of the checkout of openembedded-core in this folder
  soak    cuts the power of machines of a kind until it was cut COUNT times, those of earlier runs counted";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["demo"] => rota_qemu::demo::run("x86_64", false),
        ["demo", "--once"] => rota_qemu::demo::run("x86_64", true),
        ["demo", "--machine", kind] => rota_qemu::demo::run(kind, false),
        ["demo", "--once", "--machine", kind] | ["demo", "--machine", kind, "--once"] => {
            rota_qemu::demo::run(kind, true)
        }
        ["board", name] => rota_qemu::boards::run(name, Maker::Genimage),
        ["board", name, layers] => rota_qemu::boards::run(name, Maker::Wic(layers.into())),
        ["soak", kind, count] if count.parse::<u64>().is_ok() => {
            rota_qemu::soak::run(kind, count.parse().unwrap_or_default())
        }
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rota-qemu: {error}");
            ExitCode::FAILURE
        }
    }
}
