//! The files of a slot: a kernel and its modules, BusyBox, the C library, rota and its guard.

mod systemd;

use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian::Debian;
use crate::error::{Context, Error, Result};
use crate::house::{folder, House};
use crate::kind::{Init, Kind};
use crate::run;

/// What the dynamic programs of a slot are linked with: package, file names within it.
const LIBRARIES: [(&str, &[&str]); 2] =
    [("libc6", &["ld-linux", "libc.so.6", "libm.so.6"]), ("libgcc-s1", &["libgcc_s.so.1"])];

const FOLDERS: [&str; 14] = [
    "bin",
    "sbin",
    "usr/bin",
    "usr/sbin",
    "usr/lib/lab",
    "usr/lib/rota",
    "etc/init.d",
    "etc/rota",
    "var/lib",
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
];

/// A folder that becomes a slot's root file system.
pub struct Tree(PathBuf);

impl Tree {
    /// What every release for machines of `kind` has in common.
    pub fn base(house: &House, kind: &dyn Kind, at: PathBuf) -> Result<Tree> {
        let debian = Debian::new(house, kind.architecture())?;
        let tree = Tree::without_kernel(&debian, at)?;
        tree.add_kernel_of(&debian, kind)?;
        tree.add_rota(house, kind)?;
        let e2fsck = debian.unpacked("e2fsck-static")?.join("sbin/e2fsck.static");
        tree.copy(&e2fsck, "/sbin/e2fsck", 0o755)?;
        match kind.init() {
            Init::BusyBox => tree.add_init(kind)?,
            Init::Systemd => systemd::add(&tree, &debian, house, kind)?,
        }
        for (path, content) in kind.files(house)? {
            tree.write(path, &content, 0o644)?;
        }
        Ok(tree)
    }

    /// A kernel (Debian's metapackage) and modules, BusyBox, the C library.
    pub fn small(debian: &Debian, kernel: &str, modules: &[&str], at: PathBuf) -> Result<Tree> {
        let tree = Tree::without_kernel(debian, at)?;
        tree.add_kernel(debian, kernel, modules, "/boot/vmlinuz")?;
        Ok(tree)
    }

    /// BusyBox and the C library.
    fn without_kernel(debian: &Debian, at: PathBuf) -> Result<Tree> {
        let tree = Tree(folder(at)?);
        for path in FOLDERS {
            folder(tree.0.join(path))?;
        }
        tree.add_busybox(debian)?;
        tree.add_libraries(debian)?;
        Ok(tree)
    }

    /// Adds all files of a package.
    pub fn add_package(&self, debian: &Debian, package: &str) -> Result<()> {
        self.add_files(&debian.unpacked(package)?)
    }

    /// Adds all files of a folder.
    fn add_files(&self, files: &Path) -> Result<()> {
        // What replaces a file replaces a link, too: it does not write to where that leads on this host.
        run::output(Command::new("cp").args(["-a", "--remove-destination"]).arg(files.join(".")).arg(&self.0))
            .map(drop)
    }

    /// A second tree with the same files, sharing their bytes. [`Tree::write`] replaces a file, so the first one stays as it is.
    pub fn branch(&self, at: PathBuf) -> Result<Tree> {
        run::output(Command::new("cp").arg("-al").arg(&self.0).arg(&at))?;
        Ok(Tree(at))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file of the tree, `mode` as in chmod. `path` is absolute, as on the device.
    pub fn write(&self, path: &str, content: &[u8], mode: u32) -> Result<()> {
        let file = self.at(path)?;
        self.remove(path)?;
        folder(file.parent().unwrap_or(&self.0).to_path_buf())?;
        fs::write(&file, content).context("write", file.display())?;
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))
            .context("set the mode of", file.display())
    }

    /// Takes a file out of the tree; it may be absent.
    pub fn remove(&self, path: &str) -> Result<()> {
        match fs::remove_file(self.at(path)?) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("remove", path),
            _ => Ok(()),
        }
    }

    /// Where a path of the device lies on this host. A link on the way there would be followed on this host, and so is refused.
    fn at(&self, path: &str) -> Result<PathBuf> {
        let file = self.0.join(path.trim_start_matches('/'));
        let within = file.ancestors().skip(1).take_while(|folder| *folder != self.0);
        match within.into_iter().find(|folder| folder.is_symlink()) {
            None => Ok(file),
            Some(link) => Err(Error::Unexpected {
                what: link.display().to_string(),
                expected: format!("a folder on the way to {path}"),
                found: "a link".into(),
            }),
        }
    }

    fn link(&self, path: &str, target: &str) -> Result<()> {
        symlink(target, self.at(path)?).context("link", path)
    }

    fn copy(&self, from: &Path, path: &str, mode: u32) -> Result<()> {
        self.write(path, &fs::read(from).context("read", from.display())?, mode)
    }

    fn add_kernel(&self, debian: &Debian, kernel: &str, modules: &[&str], path: &str) -> Result<()> {
        let (files, version) = kernel_files(debian, kernel)?;
        self.copy(&files.join(format!("boot/vmlinuz-{version}")), path, 0o644)?;
        self.add_modules(&files, &version, modules)
    }

    /// The kernel that machines of `kind` start, with an initramfs where it needs one.
    fn add_kernel_of(&self, debian: &Debian, kind: &dyn Kind) -> Result<()> {
        if let Some(image) = kind.built_kernel() {
            self.copy(image, kind.kernel_file(), 0o644)?;
            return self.write("/etc/modules", b"", 0o644);
        }
        self.add_kernel(debian, kind.kernel(), kind.modules(), kind.kernel_file())?;
        match kind.early_modules() {
            [] => Ok(()),
            _ => self.add_initramfs(debian, kind),
        }
    }

    fn add_busybox(&self, debian: &Debian) -> Result<()> {
        let busybox = debian.unpacked("busybox-static")?;
        self.copy(&busybox.join("bin/busybox"), "/bin/busybox", 0o755)?;
        // Every architecture's BusyBox has the same applets, so the host's own one may list them.
        for applet in run::output(Command::new("busybox").arg("--list-full"))?.lines() {
            if applet != "bin/busybox" && self.at(applet)?.parent().is_some_and(Path::is_dir) {
                self.link(applet, "/bin/busybox")?;
            }
        }
        Ok(())
    }

    /// An initramfs with the modules that the root file system needs.
    fn add_initramfs(&self, debian: &Debian, kind: &dyn Kind) -> Result<()> {
        let (files, version) = kernel_files(debian, kind.kernel())?;
        let early = Tree(folder(self.0.with_extension("initramfs"))?);
        early.add_busybox_as_init(debian)?;
        early.add_modules(&files, &version, kind.early_modules())?;
        early.pack(&self.at("/boot/initrd.img")?)
    }

    /// Modules with those that they need, and the list of them for init.
    fn add_modules(&self, files: &Path, version: &str, names: &[&str]) -> Result<()> {
        let modules = Path::new("lib/modules").join(version);
        for name in names {
            let mut modprobe = run::admin("modprobe");
            modprobe.arg("-d").arg(files).args(["-S", version, "--show-depends", name]);
            for module in run::output(&mut modprobe)?.lines().filter_map(|l| l.strip_prefix("insmod ")) {
                let from = Path::new(module.trim());
                let path = from.strip_prefix(files).map_err(|_| Error::Unexpected {
                    what: format!("the module {name}"),
                    expected: format!("a file below {}", files.display()),
                    found: module.into(),
                })?;
                self.copy(from, &path.to_string_lossy(), 0o644)?;
            }
        }
        for list in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
            self.copy(&files.join(&modules).join(list), &modules.join(list).to_string_lossy(), 0o644)?;
        }
        run::output(run::admin("depmod").arg("-b").arg(&self.0).arg(version))?;
        self.write("/etc/modules", (names.join("\n") + "\n").as_bytes(), 0o644)
    }

    /// BusyBox with the script that an initramfs is.
    fn add_busybox_as_init(&self, debian: &Debian) -> Result<()> {
        let busybox = debian.unpacked("busybox-static")?.join("bin/busybox");
        self.copy(&busybox, "/bin/busybox", 0o755)?;
        for applet in ["sh", "mount", "umount", "modprobe", "sed", "grep", "usleep", "switch_root"] {
            self.link(&format!("bin/{applet}"), "busybox")?;
        }
        for path in ["dev", "proc", "sys", "root"] {
            folder(self.0.join(path))?;
        }
        self.write("/init", include_bytes!("../image/initramfs"), 0o755)
    }

    /// Packs the tree as an initramfs, and removes it.
    pub fn pack(self, archive: &Path) -> Result<()> {
        let script = r#"set -o pipefail; cd "$1"; find . | cpio -o -H newc --quiet -R 0:0 | gzip -6 >"$2""#;
        let packed = std::path::absolute(archive).context("find", archive.display())?;
        run::output(Command::new("bash").args(["-c", script, "bash"]).arg(&self.0).arg(packed))?;
        fs::remove_dir_all(&self.0).context("remove", self.0.display())
    }

    fn add_libraries(&self, debian: &Debian) -> Result<()> {
        for (package, names) in LIBRARIES {
            let files = debian.unpacked(package)?;
            let found = run::output(Command::new("find").arg(&files).args(["-name", "*.so*"]))?;
            for file in found.lines().map(Path::new) {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                if !names.iter().any(|wanted| name.starts_with(wanted)) {
                    continue;
                }
                let path = file.strip_prefix(&files).unwrap_or(file).to_string_lossy();
                match fs::read_link(file) {
                    Ok(target) => {
                        folder(self.at(&path)?.parent().unwrap_or(&self.0).to_path_buf())?;
                        self.link(&path, &target.to_string_lossy())?;
                    }
                    Err(_) => self.copy(file, &path, 0o755)?,
                }
            }
        }
        Ok(())
    }

    fn add_rota(&self, house: &House, kind: &dyn Kind) -> Result<()> {
        self.copy(&house.client(kind.architecture())?, "/usr/sbin/rota", 0o755)?;
        for name in ["rota-guard", "rota-data"] {
            self.copy(
                &house.source(&format!("client/dist/{name}"))?,
                &format!("/usr/lib/rota/{name}"),
                0o755,
            )?;
        }
        self.link("var/lib/rota", "/data/rota")
    }

    fn add_init(&self, kind: &dyn Kind) -> Result<()> {
        let inittab = include_str!("../image/inittab").replace("@SHELL@", kind.shell()) + kind.services();
        self.write("/etc/inittab", inittab.as_bytes(), 0o644)?;
        self.write("/etc/init.d/rcS", include_bytes!("../image/rcS"), 0o755)?;
        self.write("/usr/lib/lab/shell", include_bytes!("../image/shell"), 0o755)?;
        self.add_names(kind)?;
        let fstab = kind.fstab();
        for place in fstab.lines().filter_map(|line| line.split_whitespace().nth(1)) {
            folder(self.at(place)?)?;
        }
        self.write("/etc/fstab", fstab.as_bytes(), 0o644)
    }

    fn add_names(&self, kind: &dyn Kind) -> Result<()> {
        self.write("/etc/passwd", b"root::0:0:root:/root:/bin/sh\n", 0o644)?;
        self.write("/etc/group", b"root:x:0:\n", 0o644)?;
        self.write("/etc/hostname", kind.name().as_bytes(), 0o644)
    }
}

/// The files of the kernel that a metapackage stands for, with the lists of its modules made; and its version.
fn kernel_files(debian: &Debian, metapackage: &str) -> Result<(PathBuf, String)> {
    let package = debian.kernel(metapackage)?;
    let files = debian.unpacked(&package)?;
    let version = package.trim_start_matches("linux-image-").to_string();
    if !files.join("lib/modules").join(&version).join("modules.dep.bin").exists() {
        run::output(run::admin("depmod").arg("-b").arg(&files).arg(&version))?;
    }
    Ok((files, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_through_a_link() -> Result<()> {
        let scratch = folder(std::env::temp_dir().join(format!("rota-tree-{}", std::process::id())))?;
        let outside = scratch.join("outside");
        fs::write(&outside, "of the host").context("write", outside.display())?;
        let tree = Tree(folder(scratch.join("tree"))?);
        tree.link("file", &outside.to_string_lossy())?;
        tree.link("folder", &scratch.to_string_lossy())?;

        tree.write("/file", b"of the tree", 0o644)?;
        let error = tree.write("/folder/outside", b"of the tree", 0o644).unwrap_err();
        assert!(error.to_string().ends_with("expected a folder on the way to /folder/outside, found a link"));
        assert_eq!(fs::read(&outside).context("read", outside.display())?, b"of the host");
        fs::remove_dir_all(&scratch).context("remove", scratch.display())
    }
}
