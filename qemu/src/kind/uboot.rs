//! What the machines with U-Boot have in common: building the loader, and its environment as seen from outside.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BootLoader, Loader};
use crate::debian::Debian;
use crate::disk;
use crate::error::{Context, Error, Result};
use crate::house::{folder, lock, House};
use crate::run;

/// U-Boot with rota's boot script.
pub const BOOT_LOADER: BootLoader =
    BootLoader { name: "U-Boot", trial: "rota.trial=1", fall_back: "the trial is over" };

/// What every board uses, and what the machines add to it.
const FILES: &str = "meta-rota/recipes-bsp/u-boot/files";
const MACHINES: &str = "qemu/u-boot";
const PATCH: &str = "env-fat-nvme.patch";

/// Builds U-Boot: $1 source (new), $2 output (new), $3 what every board uses, $4 the values for the boot script, $5 the fragments
/// of the configuration in one file, $6 a patch, $7 flags for the preprocessor,
/// $8 the prefix of the compiler, $9 U-Boot's configuration to begin with.
const BUILD: &str = r#"set -e
    patch -s -d "$1" -p1 <"$6"
    export CROSS_COMPILE="$8" ARCH=arm KBUILD_BUILD_USER=rota KBUILD_BUILD_HOST=rota
    make -s -C "$1" O="$2/build" "$9"
    cd "$2/build"
    "$1/scripts/kconfig/merge_config.sh" -m .config "$5"
    make -s -C "$1" O="$2/build" olddefconfig
    "$3/rota-uboot" check .config "$5"
    make -s -C "$1" O="$2/build" -j2 KCPPFLAGS="$7" u-boot.bin u-boot-initial-env
    "$3/rota-uboot" "$4" "$2/rota" u-boot-initial-env
    cp u-boot.bin u-boot-initial-env "$2/rota/rota-env.txt" "$2"
    rm -r "$1" "$2/build" "$2/rota""#;

/// What U-Boot for a machine is made from.
struct Recipe<'a> {
    machine: &'a str,
    architecture: &'a str,
    /// The values for the boot script.
    conf: PathBuf,
    /// Fragments of its configuration, the boot command among them.
    fragments: Vec<u8>,
    patch: PathBuf,
    flags: &'static str,
}

/// Where built loaders are kept.
fn loaders(house: &House) -> Result<PathBuf> {
    folder(house.cache()?.join("u-boot"))
}

/// U-Boot for a machine, built.
pub struct UBoot {
    folder: PathBuf,
}

impl UBoot {
    /// Builds it for a machine of the lab's own, of an architecture (Debian's name of it), unless that was done from the same inputs
    /// before.
    pub fn build(house: &House, machine: &str, architecture: &str) -> Result<UBoot> {
        let _lock = lock(&loaders(house)?)?;
        let (files, machines) = (house.source(FILES)?, house.source(MACHINES)?);
        let conf = machines.join(format!("{machine}.conf"));
        let script = folder(loaders(house)?.join(format!("{machine}.script")))?;
        run::output(Command::new(files.join("rota-uboot")).arg(&conf).arg(&script))?;
        let mut fragments = read(&files.join("rota.cfg"))?;
        fragments.extend(read(&script.join("rota-bootcmd.cfg"))?);
        fragments.extend(read(&machines.join(format!("{machine}.cfg")))?);
        let flags = "-DCONFIG_SYS_EARLY_PCI_INIT";
        let patch = machines.join(PATCH);
        UBoot::cook(house, Recipe { machine, architecture, conf, fragments, patch, flags })
    }

    /// The same for a board, with neither patch nor flags: `conf` and `fragments` are files.
    pub fn build_for_board(house: &House, board: &str, conf: &Path, fragments: &Path) -> Result<UBoot> {
        let _lock = lock(&loaders(house)?)?;
        let (conf, fragments, patch) = (conf.to_path_buf(), read(fragments)?, "/dev/null".into());
        let (machine, architecture) = (board, "arm64");
        UBoot::cook(house, Recipe { machine, architecture, conf, fragments, patch, flags: "" })
    }

    fn cook(house: &House, recipe: Recipe) -> Result<UBoot> {
        let (debian, files) = (Debian::new(house, recipe.architecture)?, house.source(FILES)?);
        let (compiler, defaults) = match recipe.architecture {
            "armhf" => ("arm-linux-gnueabihf-", "qemu_arm_defconfig"),
            _ => ("aarch64-linux-gnu-", "qemu_arm64_defconfig"),
        };
        let mut inputs =
            format!("{}\n{BUILD}{}", debian.source_version("u-boot")?, recipe.flags).into_bytes();
        inputs.extend_from_slice(&recipe.fragments);
        for path in [&recipe.conf, &recipe.patch, &files.join("rota-uboot"), &files.join("rota-boot.cmd")] {
            inputs.extend(read(path)?);
        }
        let key = disk::digest(&inputs[..]).context("read", "U-Boot's inputs")?;
        let machine = recipe.machine;
        let done = loaders(house)?.join(format!("{machine}-{}", &key[..16]));
        if !done.exists() {
            println!("building U-Boot for {machine} (about a minute)");
            let work = folder(done.with_extension("part"))?;
            fs::remove_dir_all(&work).context("empty", work.display())?;
            let (source, out) = (work.join("source"), folder(work.join("out"))?);
            debian.unpack_source("u-boot", &source)?;
            let fragments = work.join("fragments.cfg");
            fs::write(&fragments, &recipe.fragments).context("write", fragments.display())?;
            let mut build = Command::new("sh");
            build.args(["-c", BUILD, "sh"]).args([&source, &out, &files, &recipe.conf, &fragments]);
            run::output(build.arg(&recipe.patch).args([recipe.flags, compiler, defaults]))?;
            fs::rename(&out, &done).context("move", out.display())?;
            fs::remove_dir_all(&work).context("remove", work.display())?;
        }
        Ok(UBoot { folder: done })
    }

    /// A loader that is built already, with the boot script for a machine. Its built-in environment is the one to begin with, but for
    /// the variable `without`.
    pub fn adopt(house: &House, machine: &str, program: &Path, without: &str) -> Result<UBoot> {
        let _lock = lock(&loaders(house)?)?;
        let folder = folder(loaders(house)?.join(machine))?;
        let (loader, built_in) = (folder.join(BINARY), folder.join("u-boot-initial-env"));
        fs::copy(program, &loader).context("write", loader.display())?;
        fs::write(&built_in, built_in_environment(&read(program)?, without))
            .context("write", built_in.display())?;
        let mut make = Command::new(house.source(FILES)?.join("rota-uboot"));
        make.arg(house.source(MACHINES)?.join(format!("{machine}.conf"))).args([&folder, &built_in]);
        run::output(&mut make).map(|_| UBoot { folder })
    }

    /// What the build left: [`BINARY`] and `u-boot-initial-env`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts the loader beside the disk, where the machine's emulator looks for it.
    pub fn install(&self, disk: &Path) -> Result<()> {
        let place = disk.with_file_name(BINARY);
        fs::copy(self.folder.join(BINARY), &place).context("write", place.display()).map(drop)
    }

    /// The environment to begin with, as text.
    pub fn environment(&self) -> Result<Vec<u8>> {
        read(&self.folder.join("rota-env.txt"))
    }

    /// The boot script of a loader that was adopted, as a file for `mkimage`.
    pub fn script(&self) -> PathBuf {
        self.folder.join("boot.cmd")
    }

    /// The environment as an image of `size` bytes, for one of two copies or for the only one, in a file of the folder `work`.
    pub fn image(&self, size: usize, copies: usize, work: &Path) -> Result<PathBuf> {
        let image = work.join("uboot.env");
        let mut make = Command::new("mkenvimage");
        make.args((copies > 1).then_some("-r"))
            .args(["-s", &size.to_string(), "-o"])
            .arg(&image)
            .arg(self.folder.join("rota-env.txt"));
        run::output(&mut make).map(|_| image)
    }
}

/// The loader's file in the folder of a machine.
pub const BINARY: &str = "u-boot.bin";

/// The two copies of an environment, taken from a disk.
pub struct Copies(pub [Vec<u8>; 2]);

impl Copies {
    /// The variables in force, as Debian's `fw_printenv` reads them.
    pub fn variables(&self, disk: &Path) -> Result<BTreeMap<String, String>> {
        variables(&self.0, disk)
    }

    /// What they say where the slots are partitions 2 and 3.
    pub fn loader(&self, disk: &Path) -> Result<Loader> {
        self.loader_of(disk, [2, 3])
    }

    /// What they say; `slots` are the numbers of the two slots' partitions. Without a trial both must say the same: what holds is
    /// in both copies.
    pub fn loader_of(&self, disk: &Path, slots: [usize; 2]) -> Result<Loader> {
        let loader = loader(&self.0, disk, slots)?;
        let same = text(&self.0[0]) == text(&self.0[1]);
        if !loader.trial && !same {
            return Err(Error::Unexpected {
                what: "the two copies of U-Boot's environment".into(),
                expected: "the same in both".into(),
                found: "a difference".into(),
            });
        }
        Ok(loader)
    }
}

/// What an environment of one copy or two says; `slots` are the numbers of the two slots' partitions.
pub fn loader(copies: &[Vec<u8>], disk: &Path, slots: [usize; 2]) -> Result<Loader> {
    Loader::read("U-Boot's environment", &variables(copies, disk)?, slots)
}

fn variables(copies: &[Vec<u8>], disk: &Path) -> Result<BTreeMap<String, String>> {
    let mut config = String::new();
    for (number, bytes) in copies.iter().enumerate() {
        let file = disk.with_extension(format!("env{number}"));
        fs::write(&file, bytes).context("write", file.display())?;
        config += &format!("{} 0 {:#x}\n", file.display(), bytes.len());
    }
    let file = disk.with_extension("fw_env.config");
    fs::write(&file, config).context("write", file.display())?;
    let printed = run::output(Command::new("fw_printenv").arg("-c").arg(&file))?;
    let pairs = printed.lines().filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect())
}

/// The environment that is built into a loader, as text: strings that end with a zero each, up to an empty one.
fn built_in_environment(program: &[u8], without: &str) -> Vec<u8> {
    let first = b"\0bootcmd=";
    let start =
        program.windows(first.len()).position(|bytes| bytes == first).map_or(program.len(), |at| at + 1);
    let strings = program[start..].split(|byte| *byte == 0).take_while(|string| !string.is_empty());
    let kept = strings.filter(|string| string.split(|byte| *byte == b'=').next() != Some(without.as_bytes()));
    kept.flat_map(|string| [string, b"\n"].concat()).collect()
}

/// The variables of a copy, without its header and what is behind them.
fn text(copy: &[u8]) -> &[u8] {
    let text = &copy[5..];
    let end = text.windows(2).position(|pair| pair == [0, 0]).unwrap_or(text.len());
    &text[..end]
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).context("read", path.display())
}
