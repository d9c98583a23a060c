//! The kernel of boards whose devices Debian's own kernels do not know, from Debian's source of Linux.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian::Debian;
use crate::disk;
use crate::error::{Context, Result};
use crate::house::{folder, lock, House};
use crate::run;

const PACKAGE: &str = "linux-source-6.1";

/// Builds an arm64 kernel with nothing but what the fragments name: $1 archive, $2 work (new), then the fragments.
const BUILD: &str = r#"set -e
    mkdir "$2/source" "$2/build"
    tar -xJf "$1" -C "$2/source" --strip-components=1
    cd "$2/build" && shift 2
    export ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- KBUILD_BUILD_USER=rota KBUILD_BUILD_HOST=rota
    make -s -C ../source O="$PWD" allnoconfig
    ../source/scripts/kconfig/merge_config.sh -m .config "$@"
    make -s -C ../source O="$PWD" olddefconfig
    grep -h '^CONFIG_' "$@" | while read -r line; do
        grep -qxF "$line" .config || { echo "Linux did not take $line"; exit 1; }
    done
    make -s -C ../source O="$PWD" -j2 Image"#;

/// The kernel with the options of the fragments, built unless that was done from the same inputs before.
pub fn build(house: &House, name: &str, fragments: &[PathBuf]) -> Result<PathBuf> {
    let package = Debian::new(house, "arm64")?.unpacked(PACKAGE)?;
    let version = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut inputs = (version + BUILD).into_bytes();
    for fragment in fragments {
        inputs.extend(fs::read(fragment).context("read", fragment.display())?);
    }
    let key = disk::digest(&inputs[..]).context("read", "the kernel's inputs")?;
    let kernels = folder(house.cache()?.join("linux"))?;
    let _lock = lock(&kernels)?;
    let done = kernels.join(format!("{name}-{}", &key[..16]));
    if !done.exists() {
        println!("building Linux for {name} (some minutes)");
        let work = folder(done.with_extension("part"))?;
        fs::remove_dir_all(&work).context("empty", work.display())?;
        let work = folder(work)?;
        let archive: &Path = &package.join(format!("usr/src/{PACKAGE}.tar.xz"));
        let mut build = Command::new("sh");
        run::output(build.args(["-c", BUILD, "sh"]).args([archive, &work]).args(fragments))?;
        let image = work.join("build/arch/arm64/boot/Image");
        fs::rename(&image, &done).context("move", image.display())?;
        fs::remove_dir_all(&work).context("remove", work.display())?;
    }
    Ok(done)
}
