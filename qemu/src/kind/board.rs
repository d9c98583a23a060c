//! Boards of the product that QEMU has. Their disks are not the lab's own: the tree for Buildroot makes them by genimage, or the
//! real wic does, from the board's `layout.toml`. So do the client's configuration, `fstab`, `fw_env.config`, the boot script
//! and the place of U-Boot's environment follow from it; programs and kernel are the lab's.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::uboot::{Copies, UBoot, BINARY};
use super::{arm64, linux, x86_64, Arm64, BootLoader, Kind, Loader, Slot, X86_64};
use crate::disk::{Layout, Partition, MIB};
use crate::error::{check, Context, Error, Result};
use crate::house::{folder, House};
use crate::run;

/// What makes a disk image of the files that fill its partitions.
#[derive(Debug, Clone)]
pub enum Maker {
    /// Debian's genimage, called by `buildroot-external/board/common/post-image.sh`.
    Genimage,
    /// wic, of the checkout of openembedded-core in this folder.
    Wic(PathBuf),
}

/// What is known of a board without its layout.
struct Model {
    name: &'static str,
    /// Its configuration in `buildroot-external/configs`.
    config: &'static str,
    architecture: &'static str,
    /// A line of `[boot]` that Debian's kernel needs besides the layout, because it has as modules what the product's has built in.
    more: &'static str,
}

const MODELS: [Model; 2] = [
    Model {
        name: "qemux86-64",
        config: "rota_qemu_x86_64_defconfig",
        architecture: "amd64",
        more: "initrd = \"/boot/initrd.img\"\n",
    },
    Model { name: "qemuarm64", config: "rota_qemu_aarch64_defconfig", architecture: "arm64", more: "" },
];

const MAKEFILE: &str = "buildroot-external/tests/stub/Makefile";
const KERNEL_FRAGMENTS: [&str; 3] = [
    "qemu/linux/qemuarm64.cfg",
    "buildroot-external/board/qemu_aarch64/linux.fragment",
    "meta-rota/recipes-kernel/linux/files/rota-mtd.cfg",
];
/// The two flash banks of QEMU's `virt` machine.
const BANK: u64 = 64 * MIB;
const FLASH: &str = "flash.img";

pub struct Board {
    model: &'static Model,
    maker: Maker,
    build: Build,
    /// What `rota-layout` says of the layout.
    facts: Value,
    partitions: &'static [Partition],
    client: &'static str,
    kernel_file: &'static str,
    fstab: String,
    kernel: Option<PathBuf>,
}

/// The folders of a build, called as in Buildroot, and the layout.
struct Build {
    folder: PathBuf,
    config: PathBuf,
    layout: PathBuf,
    _lock: File,
}

impl Board {
    /// The board called `name`, with all that comes before its root file system. It stays in memory until the program ends.
    pub fn new(house: &House, name: &str, maker: Maker) -> Result<&'static Board> {
        let model = MODELS.iter().find(|model| model.name == name).ok_or_else(|| Error::Unexpected {
            what: "the board".into(),
            expected: MODELS.map(|model| model.name).join(" or "),
            found: name.into(),
        })?;
        let build = Build::new(house, model)?;
        let facts: Value = serde_json::from_str(&build.derive(house, "json")?).map_err(|error| {
            Error::Unexpected { what: name.into(), expected: "JSON".into(), found: error.to_string() }
        })?;
        let partitions = partitions(&facts)?;
        let client = forever(build.derive(house, "client")?);
        let kernel_file = forever(facts["kernel"].as_str().unwrap_or_default().into());
        let mut kernel = None;
        match model.architecture {
            "amd64" => build.add_grub(house)?,
            _ => {
                build.add_uboot(house, model)?;
                let fragments = KERNEL_FRAGMENTS.map(|file| house.source(file));
                let fragments = fragments.into_iter().collect::<Result<Vec<_>>>()?;
                kernel = Some(linux::build(house, name, &fragments)?);
            }
        }
        build.write("target", kernel_file, b"the lab's own")?;
        build.write("target", "etc/fstab", b"")?;
        folder(build.folder.join("target/var/lib"))?;
        build.act(house, "post-build")?;
        let fstab = build.read("target/etc/fstab")?;
        let fstab = String::from_utf8_lossy(&fstab)
            .lines()
            .filter(|line| !line.starts_with('#'))
            .fold(String::new(), |all, line| all + line + "\n");
        let board = Board { model, maker, build, facts, partitions, client, kernel_file, fstab, kernel };
        Ok(Box::leak(Box::new(board)))
    }

    /// The number of the partition with this use in the layout.
    fn number(&self, usage: &str) -> usize {
        let mut parts = self.facts["partitions"].as_array().into_iter().flatten();
        parts.position(|part| part["use"] == usage).map_or(0, |at| at + 1)
    }

    /// The same machine in another kind of the lab.
    fn relative(&self) -> &'static dyn Kind {
        match self.model.architecture {
            "amd64" => &X86_64,
            _ => &Arm64,
        }
    }
}

impl Build {
    fn new(house: &House, model: &Model) -> Result<Build> {
        let (folder, _lock) = house.scene(&format!("{}-build", model.name))?;
        let config = house.source("buildroot-external/configs")?.join(model.config);
        let layout = folder.join(format!("{}.toml", model.name));
        let build = Build { folder, config, layout, _lock };
        let original = house.source(&format!("meta-rota/files/layouts/{}.toml", model.name))?;
        let text = fs::read_to_string(&original).context("read", original.display())?;
        let text = text.replace("[boot]\n", &format!("[boot]\n{}", model.more));
        fs::write(&build.layout, text).context("write", build.layout.display()).map(|()| build)
    }

    /// What `rota-layout` derives.
    fn derive(&self, house: &House, what: &str) -> Result<String> {
        run::output(Command::new(house.source("meta-rota/scripts/rota-layout")?).arg(what).arg(&self.layout))
    }

    /// What Buildroot does at this point, with the board's configuration.
    fn act(&self, house: &House, act: &str) -> Result<String> {
        let mut make = run::admin("make");
        make.arg("-s").arg("-f").arg(house.source(MAKEFILE)?);
        make.arg(format!("BR2_EXTERNAL_ROTA_PATH={}", house.source("buildroot-external")?.display()));
        make.arg(format!("CONFIG={}", self.config.display()));
        make.arg(format!("ROTA_LAYOUT={}", self.layout.display()));
        for (name, place) in [("TARGET_DIR", "target"), ("BINARIES_DIR", "images"), ("BUILD_DIR", "build")] {
            make.arg(format!("{name}={}", folder(self.folder.join(place))?.display()));
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}:/usr/sbin:/sbin", house.build().join("bin").display());
        run::output(make.arg(act).env("PATH", path))
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        let path = self.folder.join(path);
        fs::read(&path).context("read", path.display())
    }

    fn write(&self, place: &str, path: &str, content: &[u8]) -> Result<()> {
        let path = self.folder.join(place).join(path.trim_start_matches('/'));
        folder(path.parent().unwrap_or(&self.folder).to_path_buf())?;
        fs::write(&path, content).context("write", path.display())
    }

    /// GRUB with the modules that the board's configuration names.
    fn add_grub(&self, house: &House) -> Result<()> {
        let config = fs::read_to_string(&self.config).context("read", self.config.display())?;
        let modules = config.lines().find_map(|l| l.strip_prefix("BR2_TARGET_GRUB2_BUILTIN_MODULES_EFI="));
        let modules: Vec<_> = modules.unwrap_or_default().trim_matches('"').split_whitespace().collect();
        let boot = folder(self.folder.join("images/efi-part/EFI/BOOT"))?;
        x86_64::grub(house, &modules, &boot.join("bootx64.efi"))
    }

    /// U-Boot with the fragments that the board's configuration names.
    fn add_uboot(&self, house: &House, model: &Model) -> Result<()> {
        self.act(house, "uboot")?;
        let place = self.folder.join("build/uboot");
        let built = UBoot::build_for_board(
            house,
            model.name,
            &place.join("rota/board.conf"),
            &place.join(".config"),
        )?;
        built.install(&folder(self.folder.join("images"))?.join("disk"))?;
        let initial = built.folder().join("u-boot-initial-env");
        fs::copy(&initial, place.join("u-boot-initial-env")).context("copy", initial.display()).map(drop)
    }
}

impl Kind for Board {
    fn name(&self) -> &'static str {
        self.model.name
    }

    fn device_type(&self) -> &'static str {
        self.model.name
    }

    fn architecture(&self) -> &'static str {
        self.model.architecture
    }

    fn kernel(&self) -> &'static str {
        "linux-image-cloud-amd64"
    }

    fn modules(&self) -> &'static [&'static str] {
        X86_64.modules()
    }

    fn early_modules(&self) -> &'static [&'static str] {
        &["virtio_pci", "virtio_blk"]
    }

    fn built_kernel(&self) -> Option<&Path> {
        self.kernel.as_deref()
    }

    fn kernel_file(&self) -> &'static str {
        self.kernel_file
    }

    fn files(&self, _house: &House) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let made = |path| Ok((path, self.build.read(&format!("target{path}"))?));
        match self.facts["backend"].as_str() {
            Some("uboot") => {
                ["/etc/fw_env.config", "/etc/u-boot-initial-env"].into_iter().map(made).collect()
            }
            _ => Ok(Vec::new()),
        }
    }

    fn services(&self) -> &'static str {
        match self.kernel {
            Some(_) => Arm64.services(),
            None => "",
        }
    }

    fn shell(&self) -> &'static str {
        self.relative().shell()
    }

    fn mounts(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &[]
    }

    fn fstab(&self) -> String {
        self.fstab.clone()
    }

    fn boot_loader(&self) -> BootLoader {
        self.relative().boot_loader()
    }

    fn client(&self) -> &'static str {
        self.client
    }

    fn layout(&self) -> Layout {
        Layout(self.partitions)
    }

    fn partition(&self, slot: Slot) -> usize {
        self.number(&format!("slot_{slot}"))
    }

    /// A part of the slot, as a product's release is.
    fn release_mib(&self) -> u64 {
        64
    }

    fn make_disk(&self, house: &House, image: &Path, _work: &Path, disk: &Path) -> Result<()> {
        let images = self.build.folder.join("images");
        let rootfs = images.join("rootfs.ext4");
        let _ = fs::remove_file(&rootfs);
        symlink(image, &rootfs).context("link", rootfs.display())?;
        self.build.act(house, "post-image")?;
        let made = images.join(format!("{}.img", self.name()));
        match &self.maker {
            Maker::Genimage => fs::rename(&made, disk).context("move", made.display())?,
            Maker::Wic(layers) => {
                fs::remove_file(&made).context("remove", made.display())?;
                let mut wic = run::admin("/usr/bin/python3");
                wic.arg(house.source("meta-rota/tests/real_wic.py")?).arg(layers).arg(&self.build.layout);
                run::output(wic.arg(self.build.folder.join("build/rota-image/partitions")).arg(disk))?;
            }
        }
        for name in [BINARY, FLASH] {
            let (from, to) = (images.join(name), disk.with_file_name(name));
            if from.exists() {
                fs::copy(&from, &to).context("copy", from.display())?;
            }
        }
        Ok(())
    }

    fn qemu(&self, folder: &Path, disk: &str) -> Result<Command> {
        let mut qemu = match self.model.architecture {
            "amd64" => x86_64::pc(folder, 256)?,
            // U-Boot lies in the first bank of flash.
            _ => {
                let mut qemu = arm64::virt("aarch64", "virt", "cortex-a53");
                qemu.args(["-drive", &format!("if=pflash,unit=1,format=raw,file={FLASH}")]);
                qemu.args(["-device", "i6300esb", "-watchdog-action", "reset"]);
                // Each of U-Boot's writes to flash changes the machine's memory map, in all of its processors.
                qemu.args(["-smp", "1"]);
                qemu
            }
        };
        qemu.args(["-drive", &format!("if=none,id=disk,format=raw,file={disk}")]);
        qemu.args(["-device", "virtio-blk-pci,drive=disk,bootindex=0"]);
        Ok(qemu)
    }

    fn loader(&self, disk: &Path) -> Result<Loader> {
        let slots = [self.number("slot_A"), self.number("slot_B")];
        if self.facts["backend"] == "grub" {
            return x86_64::loader(disk, &self.layout(), self.number("boot"), slots);
        }
        let file = disk.with_file_name(FLASH);
        let flash = fs::read(&file).context("read", file.display())?;
        let (environment, size) =
            (&self.facts["environment"], number(&self.facts["environment"]["size"]) as usize);
        let copy =
            |at: usize| flash[(number(&environment["offsets"][at]) - BANK) as usize..][..size].to_vec();
        Copies([copy(0), copy(1)]).loader_of(disk, slots)
    }
}

/// The partitions of a layout. The lab's own layouts have no gaps, and neither have these.
fn partitions(facts: &Value) -> Result<&'static [Partition]> {
    let parts = facts["partitions"].as_array().into_iter().flatten();
    let partition = |part: &Value| Partition { name: "", kind: "", mib: number(&part["size"]) / MIB };
    let list: &'static [Partition] = Box::leak(parts.clone().map(partition).collect());
    for (at, part) in parts.enumerate() {
        check("the start of a partition", number(&part["offset"]), Layout(list).span(at + 1).0)?;
    }
    Ok(list)
}

fn forever(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}
