# SPDX-License-Identifier: MIT
"""Makes the files that fill a disk's partitions: FAT and ext4 file systems of the partitions' sizes, the same every time.

Runs mkfs.vfat, mcopy, mke2fs and mkenvimage.
"""

import glob
import os
import shutil
import subprocess
import uuid
import zlib

from . import derive

FLASH_BANK = 64 * 2**20


class FillError(Exception):
    """Names the file or the program, and what went wrong."""


class Source:
    """Where contents come from: the root file system as a tree and as an image, the boot files, U-Boot's first
    environment (text), the programs' environment with PATH, and the time stamp of everything."""

    def __init__(self, rootfs, image, deploy, boot_files, uboot_env, path, epoch):
        self.rootfs = rootfs
        self.image = image
        self.deploy = deploy
        self.boot_files = boot_files
        self.uboot_env = uboot_env
        self.epoch = int(epoch)
        self.environment = dict(os.environ, PATH=path, TZ="UTC", MTOOLS_SKIP_CHECK="1",
                                SOURCE_DATE_EPOCH=str(epoch), E2FSPROGS_FAKE_TIME=str(epoch))

    def run(self, *command, said=None):
        done = subprocess.run(command, env=self.environment, input=said, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise FillError("%s: %s" % (" ".join(command), done.stdout.decode(errors="replace").strip()))


def file_system_uuid(board, name):
    """The same for every build: images are reproducible."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "rota/%s/%s" % (board, name)))


def copy_boot_files(entries, deploy, folder):
    """Copies boot files in the form of IMAGE_BOOT_FILES: ``file``, ``file;new-name``, ``pattern`` or ``pattern;folder``."""
    for entry in entries:
        pattern, _, target = entry.partition(";")
        found = sorted(glob.glob(os.path.join(deploy, pattern)))
        if not found:
            raise FillError("the boot files name %s, and there is no such file in %s" % (pattern, deploy))
        for source in found:
            name = os.path.join(target, os.path.basename(source)) if not target or "*" in pattern else target
            place = os.path.join(folder, name)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if os.path.isdir(source):
                shutil.copytree(source, place, dirs_exist_ok=True)
            else:
                shutil.copyfile(source, place)


def fill(layout, folder, source):
    """Makes every file that ``derive.wks`` and ``derive.genimage`` name, in an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for partition in layout.partitions:
        path = os.path.join(folder, derive.image_name(partition))
        if partition.use in ("slot_A", "slot_B"):
            if not os.path.lexists(path):
                os.symlink(source.image, path)
            continue
        content = os.path.join(folder, "content", partition.name)
        os.makedirs(content)
        put_content(layout, partition, content, source)
        make_file_system(layout, partition, content, path, source)
    if layout.environment.offsets:
        make_environment(layout, os.path.join(folder, "uboot-env.bin"), source)


def put_content(layout, partition, folder, source):
    """What a partition begins with: boot files, or what the root file system has where it will be mounted."""
    texts = {}
    if partition.use == "config":
        texts = {"autoboot.txt": derive.autoboot(layout), "config.txt": ""}
    elif partition.use in ("boot_A", "boot_B"):
        texts = {"cmdline.txt": derive.cmdline(layout, partition.use[-1])}
        shutil.copytree(source.rootfs + "/boot/firmware", folder, dirs_exist_ok=True)
    elif partition.use == "boot":
        copy_boot_files(source.boot_files, source.deploy, folder)
    elif partition.mount and os.path.isdir(source.rootfs + partition.mount):
        source.run("cp", "-a", source.rootfs + partition.mount + "/.", folder)
    for name, text in texts.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)


def make_file_system(layout, partition, content, path, source):
    for top, folders, files in os.walk(content):
        for name in folders + files + ["."]:
            os.utime(os.path.join(top, name), (source.epoch, source.epoch), follow_symlinks=False)
    kib = str(partition.size // 1024)
    identity = file_system_uuid(layout.board, partition.name)
    if partition.filesystem == "vfat":
        serial = "%08x" % zlib.crc32(identity.encode())
        source.run("mkfs.vfat", "--invariant", "-n", partition.name.upper()[:11], "-i", serial, "-C", path, kib)
        for name in sorted(os.listdir(content)):
            source.run("mcopy", "-s", "-m", "-i", path, os.path.join(content, name), "::/")
    else:
        source.run("mke2fs", "-q", "-t", partition.filesystem, "-L", partition.name[:16], "-U", identity,
                   "-E", "hash_seed=" + identity, "-d", content, path, kib)
        settle_times(path, content, source)


def settle_times(image, tree, source):
    """Gives every file of an ext4 image the one time stamp. A tree's own cannot be set wholly (the change time), and mke2fs
    takes them over before 1.47.1."""
    lines = []
    for top, folders, files in os.walk(tree):
        for name in folders + files:
            path = "/" + os.path.relpath(os.path.join(top, name), tree)
            if '"' not in path and "\n" not in path:
                lines += ['set_inode_field "%s" %s @%d' % (path, field, source.epoch) for field in ("ctime", "atime", "crtime")]
    source.run("debugfs", "-w", "-f", "/dev/stdin", image, said="\n".join(lines).encode() + b"\n")


def make_environment(layout, path, source):
    """One copy of U-Boot's first environment; for flash also the bank that holds both (for QEMU, or a programmer)."""
    environment = layout.environment
    source.run("mkenvimage", "-r", "-s", str(environment.size), "-o", path, source.uboot_env)
    if not environment.is_mtd:
        return
    with open(path, "rb") as file:
        copy = file.read()
    with open(os.path.join(os.path.dirname(path), "flash.img"), "wb") as flash:
        flash.write(b"\xff" * FLASH_BANK)
        for offset in environment.offsets:
            flash.seek(offset % FLASH_BANK)
            flash.write(copy)
