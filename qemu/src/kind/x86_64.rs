//! `x86_64`: a PC with UEFI (OVMF), GRUB and an NVMe disk, with BusyBox's init. Debian's cloud kernel has NVMe and ext4 built in, so
//! the slot is started without an initramfs.
//! `x86_64-systemd`: the same PC with a hardware watchdog, Debian's generic kernel, an initramfs, and systemd with rota's units.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::{BootLoader, Init, Kind, Loader, Slot};
use crate::disk::{self, Layout, Partition};
use crate::error::{Context, Error, Result};
use crate::house::House;
use crate::run;

/// A PC.
pub struct Pc {
    name: &'static str,
    kernel: &'static str,
    early_modules: &'static [&'static str],
    init: Init,
    partitions: &'static [Partition],
    mib: u32,
    /// What it has beside disk and network.
    devices: &'static [&'static str],
}

pub const X86_64: Pc = Pc {
    name: "x86_64",
    kernel: "linux-image-cloud-amd64",
    early_modules: &[],
    init: Init::BusyBox,
    partitions: &partitions(48),
    mib: 256,
    devices: &[],
};

pub const X86_64_SYSTEMD: Pc = Pc {
    name: "x86_64-systemd",
    kernel: "linux-image-amd64",
    early_modules: &["i6300esb", "nvme", "crc32c_generic", "ext4"],
    init: Init::Systemd,
    partitions: &partitions(160),
    mib: 512,
    devices: &["i6300esb"],
};

const ESP: usize = 1;
const DATA: usize = 4;

const fn partitions(slot: u64) -> [Partition; 4] {
    [
        Partition { name: "esp", kind: "EF00", mib: 16 },
        Partition { name: "rootfs_A", kind: "8300", mib: slot },
        Partition { name: "rootfs_B", kind: "8300", mib: slot },
        Partition { name: "data", kind: "8300", mib: 32 },
    ]
}

/// rota's boot script, as the Yocto layer has it.
const GRUB_FILES: &str = "meta-rota/recipes-bsp/grub/files";
const GRUB_MODULES: &[&str] = &[
    "part_gpt",
    "fat",
    "ext2",
    "normal",
    "configfile",
    "loadenv",
    "test",
    "regexp",
    "echo",
    "linux",
    "boot",
    "serial",
    "terminal",
    "reboot",
    "halt",
    "sleep",
    "minicmd",
    "search",
    "search_label",
    "search_fs_uuid",
    "search_fs_file",
    "ls",
    "cat",
    "probe",
    "true",
];
/// GRUB with rota's boot script.
const GRUB: BootLoader =
    BootLoader { name: "GRUB", trial: ") rota.trial=1", fall_back: "on trial and not committed" };
const OVMF: &str = "/usr/share/OVMF";

impl Kind for Pc {
    fn name(&self) -> &'static str {
        self.name
    }

    fn device_type(&self) -> &'static str {
        "qemu-x86_64"
    }

    fn architecture(&self) -> &'static str {
        "amd64"
    }

    fn kernel(&self) -> &'static str {
        self.kernel
    }

    fn modules(&self) -> &'static [&'static str] {
        &["virtio_pci", "virtio_net", "vfat", "nls_cp437", "nls_ascii"]
    }

    fn early_modules(&self) -> &'static [&'static str] {
        self.early_modules
    }

    fn init(&self) -> Init {
        self.init
    }

    fn shell(&self) -> &'static str {
        "ttyS1"
    }

    fn mounts(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &[("/dev/nvme0n1p4", "/data", "ext4"), ("/dev/nvme0n1p1", "/boot/efi", "vfat")]
    }

    fn boot_loader(&self) -> BootLoader {
        GRUB
    }

    fn client(&self) -> &'static str {
        "[slots]
a = \"/dev/nvme0n1p2\"
b = \"/dev/nvme0n1p3\"

[boot]
backend = \"grub\"
env_dir = \"/boot/efi/grub-mender-grubenv\"
"
    }

    fn wrong(&self) -> &'static [&'static str] {
        match self.init {
            Init::BusyBox => &["watchdog"],
            Init::Systemd => &[],
        }
    }

    fn layout(&self) -> Layout {
        Layout(self.partitions)
    }

    fn make_disk(&self, house: &House, image: &Path, work: &Path, disk: &Path) -> Result<()> {
        let layout = self.layout();
        let (esp, data) = (work.join("esp.fat"), work.join("data.ext4"));
        make_esp(house, work, &esp, self.partitions[ESP - 1].mib)?;
        disk::data_file_system(&data, self.partitions[DATA - 1].mib)?;
        layout.create(disk)?;
        layout.fill(disk, ESP, &esp)?;
        layout.fill(disk, self.partition(Slot::A), image)?;
        layout.fill(disk, DATA, &data)
    }

    fn qemu(&self, folder: &Path, disk: &str) -> Result<Command> {
        let mut qemu = pc(folder, self.mib)?;
        qemu.args(["-drive", &format!("if=none,id=disk,format=raw,file={disk}")]);
        qemu.args(["-device", "nvme,drive=disk,serial=lab,bootindex=0"]);
        qemu.args(self.devices.iter().flat_map(|device| ["-device", device]));
        Ok(qemu)
    }

    fn loader(&self, disk: &Path) -> Result<Loader> {
        loader(disk, &self.layout(), ESP, [2, 3])
    }
}

/// A PC with UEFI, the console on its first serial port, the lab's shell on the second one. It runs in `folder`, with `mib` of memory.
pub fn pc(folder: &Path, mib: u32) -> Result<Command> {
    let firmware = Path::new(OVMF).join("OVMF_CODE_4M.fd");
    if !firmware.exists() {
        return Err(Error::Missing { object: firmware, next: "run scripts/deps".into() });
    }
    let vars = folder.join("firmware-vars.fd");
    if !vars.exists() {
        fs::copy(Path::new(OVMF).join("OVMF_VARS_4M.fd"), &vars).context("write", vars.display())?;
    }
    let mut qemu = run::dependent("qemu-system-x86_64");
    qemu.args("-accel tcg -M q35 -cpu max -smp 2 -nodefaults -display none".split(' '));
    qemu.args(["-m", &mib.to_string()]);
    qemu.args(["-serial", "stdio", "-serial", "chardev:shell"]);
    qemu.arg("-drive").arg(format!("if=pflash,unit=0,format=raw,readonly=on,file={}", firmware.display()));
    qemu.args(["-drive", "if=pflash,unit=1,format=raw,file=firmware-vars.fd"]);
    qemu.args(["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]);
    Ok(qemu)
}

/// What GRUB's records on the partition `esp` of a disk say; `slots` are the numbers of the two slots' partitions.
pub fn loader(disk: &Path, layout: &Layout, esp: usize, slots: [usize; 2]) -> Result<Loader> {
    let image = disk.with_extension("esp");
    fs::write(&image, layout.take(disk, esp)?).context("write", image.display())?;
    let (one, two) = (grub_copy(&image, 1)?, grub_copy(&image, 2)?);
    if one != two {
        return Err(Error::Unexpected {
            what: "the two copies of GRUB's environment".into(),
            expected: "the same in both".into(),
            found: format!("{one:?} and {two:?}"),
        });
    }
    Loader::read("GRUB's environment", &one, slots)
}

/// Makes GRUB with these modules and rota's first script.
pub fn grub(house: &House, modules: &[&str], loader: &Path) -> Result<()> {
    let mut mkimage = Command::new("grub-mkimage");
    mkimage.args(["-O", "x86_64-efi", "-p", "/grub", "-o"]).arg(loader);
    mkimage.arg("-c").arg(house.source(GRUB_FILES)?.join("rota-grub-embed.cfg"));
    run::output(mkimage.args(modules)).map(drop)
}

fn make_esp(house: &House, work: &Path, esp: &Path, mib: u64) -> Result<()> {
    let write = |name: &str, content: &[u8]| {
        let path = work.join(name);
        fs::write(&path, content).context("write", path.display()).map(|()| path)
    };
    let scripts = house.source(GRUB_FILES)?;
    let loader = work.join("BOOTX64.EFI");
    grub(house, GRUB_MODULES, &loader)?;

    let env = write(
        "env",
        &grub_block(&[("bootcount", "0"), ("mender_boot_part", "2"), ("upgrade_available", "0")]),
    )?;
    let lock = write("lock", &grub_block(&[("editing", "0")]))?;
    let sum = run::output(Command::new("sha256sum").arg("lock").current_dir(work))?;
    let sum = write("lock.sha256sum", sum.as_bytes())?;

    let mut folders = ["EFI", "EFI/BOOT", "grub", "grub-mender-grubenv"].map(String::from).to_vec();
    let mut files = vec![
        (loader, "EFI/BOOT/BOOTX64.EFI".to_string()),
        (scripts.join("rota-grub.cfg"), "grub/grub.cfg".into()),
        (scripts.join("rota-grub-defines.cfg"), "grub/rota-grub-defines.cfg".into()),
    ];
    for copy in ["mender_grubenv1", "mender_grubenv2"] {
        let folder = format!("grub-mender-grubenv/{copy}");
        for (file, name) in [(&env, "env"), (&lock, "lock"), (&sum, "lock.sha256sum")] {
            files.push((file.clone(), format!("{folder}/{name}")));
        }
        folders.push(folder);
    }
    disk::fat_file_system(esp, mib, &folders, &files)
}

/// One copy of GRUB's records.
#[derive(Debug, Clone, Copy)]
pub struct Records {
    pub part: &'static str,
    pub trial: &'static str,
    pub count: &'static str,
    pub editing: &'static str,
}

impl Records {
    /// Slot A is committed.
    pub const A: Records = Records { part: "2", trial: "0", count: "0", editing: "0" };
    /// Slot B is committed.
    pub const B: Records = Records { part: "3", ..Records::A };
    /// Slot B is armed.
    pub const B_ARMED: Records = Records { trial: "1", ..Records::B };

    /// This slot is armed.
    pub fn armed(slot: Slot) -> Records {
        let part = if slot == Slot::A { Records::A.part } else { Records::B.part };
        Records { part, ..Records::B_ARMED }
    }

    /// Writes copy 1 or 2 of the records of a machine that is off.
    pub fn write(self, disk: &Path, copy: usize) -> Result<()> {
        let env =
            [("bootcount", self.count), ("mender_boot_part", self.part), ("upgrade_available", self.trial)];
        put(disk, copy, "env", &grub_block(&env))?;
        put(disk, copy, "lock", &grub_block(&[("editing", self.editing)]))
    }

    /// Overwrites copy 1 or 2 of the records of a machine that is off with what makes no sense.
    pub fn destroy(disk: &Path, copy: usize) -> Result<()> {
        put(disk, copy, "env", &[0; 1024])
    }
}

fn put(disk: &Path, copy: usize, name: &str, bytes: &[u8]) -> Result<()> {
    let path = format!("grub-mender-grubenv/mender_grubenv{copy}/{name}");
    X86_64.layout().write_file(disk, ESP, &path, bytes)
}

/// A GRUB environment block: 1024 bytes, filled up with `#`.
fn grub_block(values: &[(&str, &str)]) -> Vec<u8> {
    let mut block = String::from("# GRUB Environment Block\n");
    for (key, value) in values {
        block += &format!("{key}={value}\n");
    }
    let mut block = block.into_bytes();
    block.resize(1024, b'#');
    block
}

/// One copy of GRUB's environment. Its lock must be open.
fn grub_copy(esp: &Path, copy: usize) -> Result<BTreeMap<String, String>> {
    let read = |name: &str| {
        let path = format!("::/grub-mender-grubenv/mender_grubenv{copy}/{name}");
        let block = run::output(Command::new("mtype").arg("-i").arg(esp).arg(path))?;
        let pairs =
            block.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        Ok(pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect::<BTreeMap<_, _>>())
    };
    let lock = read("lock")?;
    if lock.get("editing").map(String::as_str) != Some("0") {
        return Err(Error::Unexpected {
            what: format!("the lock of copy {copy} of GRUB's environment"),
            expected: "editing=0".into(),
            found: format!("{lock:?}"),
        });
    }
    read("env")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_1024_bytes_and_reads_back() {
        let block = grub_block(&[("bootcount", "0"), ("upgrade_available", "1")]);
        assert_eq!(block.len(), 1024);
        assert!(block.starts_with(b"# GRUB Environment Block\nbootcount=0\nupgrade_available=1\n###"));
    }

    #[test]
    fn the_partitions_follow_one_another() {
        assert_eq!(X86_64.layout().span(1), (disk::MIB, 16 * disk::MIB));
        assert_eq!(X86_64.layout().span(3), (65 * disk::MIB, 48 * disk::MIB));
    }
}
