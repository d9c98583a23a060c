//! Gives the program the time it was built: no true clock is earlier. `SOURCE_DATE_EPOCH` makes it reproducible. Links it small.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rerun-if-changed=build.rs");
    let given = env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse::<u64>().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    println!("cargo:rustc-env=ROTA_BUILD_TIME={}", given.unwrap_or_else(now));
    link_small();
}

/// Leaves out the tables for unwinding, a tenth of the program: one that aborts when it panics never unwinds, but the standard
/// library and C bring theirs. `ROTA_RELR=1` packs relocations, too, which glibc reads from 2.36 on. Linkers that do not know the
/// one or the other are left alone, and so are static programs, whose start-up code looks for the tables.
fn link_small() {
    println!("cargo:rerun-if-env-changed=ROTA_RELR");
    let cfg = |name: &str| env::var(format!("CARGO_CFG_{name}")).unwrap_or_default();
    let is_dynamic = !cfg("TARGET_FEATURE").split(',').any(|feature| feature == "crt-static");
    // Of the profiles, the one for releases aborts; cargo tells a build script no other way.
    let is_release = env::var("PROFILE").as_deref() == Ok("release");
    // Elsewhere, on 32-bit Arm, tables have other names.
    let is_known = ["x86_64", "aarch64"].contains(&cfg("TARGET_ARCH").as_str());
    if !is_release || !is_known || cfg("TARGET_ENV") != "gnu" || !is_dynamic {
        return;
    }
    let folder = env::var("OUT_DIR").unwrap_or_default();
    let script = format!("{folder}/no-unwinding.ld");
    let discard =
        "SECTIONS { /DISCARD/ : { *(.eh_frame .eh_frame_hdr .gcc_except_table*) } } INSERT AFTER .text;\n";
    if fs::write(&script, discard).is_err() {
        return;
    }
    let mut wanted = vec![format!("-Wl,--no-eh-frame-hdr,-T,{script}")];
    if env::var("ROTA_RELR").as_deref() == Ok("1") {
        wanted.push("-Wl,-z,pack-relative-relocs".to_owned());
    }
    for argument in wanted.iter().filter(|argument| links_with(argument, Path::new(&folder))) {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}

/// Whether the linker takes the argument, tried on a program of nothing.
fn links_with(argument: &str, folder: &Path) -> bool {
    let is_native = env::var("HOST") == env::var("TARGET");
    let linker = env::var("RUSTC_LINKER").ok().or_else(|| is_native.then(|| "cc".to_owned()));
    let (Some(linker), source) = (linker, folder.join("nothing.c")) else { return false };
    let tried = fs::write(&source, "int main(void) { return 0; }\n").and_then(|()| {
        let mut command = Command::new(linker);
        command.args(["-pie", "-fPIE", argument, "-o"]).arg(folder.join("nothing")).arg(source);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status()
    });
    tried.is_ok_and(|status| status.success())
}
