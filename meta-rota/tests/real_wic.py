# SPDX-License-Identifier: MIT
"""The real wic makes each board's disk from our kickstart text and a small root file system, and the disk is what the layout says.

    real_wic.py FOLDER                      with openembedded-core and bitbake of a series; wic is part of them (scarthgap), or
                                            a repository of its own beside them (since wrynose)
    real_wic.py FOLDER LAYOUT PARTS DISK    one board: PARTS holds the files of its partitions, DISK is the image to make
"""

import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

LAYER = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..")
sys.path.insert(0, os.path.join(LAYER, "lib"))
from rota import derive, fill, layout as layouts  # noqa: E402 (after the path)

PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, **options)
    if done.returncode:
        raise RuntimeError("%s\n%s" % (" ".join(command), done.stdout))
    return done.stdout


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def digest(path, offset, size):
    found = hashlib.sha256()
    with open(path, "rb") as file:
        file.seek(offset)
        while size > 0:
            piece = file.read(min(size, 2**20))
            if not piece:
                break
            found.update(piece)
            size -= len(piece)
    return found.hexdigest()


def program(layers):
    """What starts wic, and the folders of its modules."""
    if os.path.isdir(layers + "/wic"):
        return ["-m", "wic.cli"], layers + "/wic/src"
    return [layers + "/openembedded-core/scripts/wic"], layers + "/bitbake/lib"


def wic(layers, layout, folder, parts):
    """Lets wic put the files of the partitions together, in a new folder; returns the image."""
    os.mkdir(folder)
    write(folder + "/disk.wks", derive.wks(layout, parts))
    # wic is called as the image class calls it, with the variables in a file. What it wants as root file system and as deployed
    # files stays empty: the kickstart file names files alone.
    variables = {"MACHINE": layout.board}
    for name in ("IMAGE_ROOTFS", "DEPLOY_DIR_IMAGE", "STAGING_DATADIR", "RECIPE_SYSROOT_NATIVE"):
        variables[name] = os.path.join(folder, name.lower())
        os.mkdir(variables[name])
    # The host's programs; but Debian 12's sfdisk does not know the option yet that names its default.
    native = variables["RECIPE_SYSROOT_NATIVE"]
    os.symlink("/usr", native + "/usr")
    sfdisk = native + "/sbin/sfdisk"
    write(sfdisk, '#!/bin/sh\n[ "$1 $2" = "--sector-size 512" ] && shift 2\nexec /usr/sbin/sfdisk "$@"\n')
    os.chmod(sfdisk, 0o755)
    write(folder + "/vars/rota.env", "".join('%s="%s"\n' % pair for pair in variables.items()))
    start, modules = program(layers)
    run("/usr/bin/python3", *start, "create", folder + "/disk.wks", "--vars", folder + "/vars", "-e", "rota", "-o", folder + "/out",
        env=dict(os.environ, PATH=PATH, BUILDDIR=folder, PYTHONPATH=modules, SOURCE_DATE_EPOCH="1700000000"))
    return glob.glob(folder + "/out/disk-*.direct")[0]


def make(layers, layout, folder):
    """Fills the partitions and lets wic put them together; returns the image."""
    rootfs = os.path.join(folder, "rootfs")
    for name in ("boot/firmware/kernel8.img", "boot/firmware/cmdline.txt", "data/rota/seed", "sbin/init"):
        write(os.path.join(rootfs, name), name)
    deploy = os.path.join(folder, "deploy")
    write(deploy + "/boot.bin", "loader")
    write(folder + "/env.txt", "mender_boot_part=2\n")
    image = folder + "/rootfs.ext4"
    run("mke2fs", "-q", "-t", "ext4", "-d", rootfs, image, "16384", env=dict(os.environ, PATH=PATH))
    parts = folder + "/parts"
    fill.fill(layout, parts, fill.Source(rootfs, image, deploy, ["boot.bin"], folder + "/env.txt", PATH, 1700000000))
    return wic(layers, layout, folder + "/wic", parts)


def check(layout, folder, disk):
    """Table, contents and environment are where the layout puts them."""
    dump = run("sfdisk", "--dump", disk, env=dict(os.environ, PATH=PATH))
    rows = {int(number): (int(start) * 512, int(size) * 512)
            for number, start, size in re.findall(r"direct(\d+) : start= *(\d+), size= *(\d+)", dump)}
    for part in layout.partitions:
        if rows.get(part.number) != (part.offset, part.size):
            raise RuntimeError("partition %d lies at %s, not at %s\n%s" % (part.number, rows.get(part.number), (part.offset, part.size), dump))
        file = os.path.join(folder, "parts", derive.image_name(part))
        size = os.stat(file).st_size
        if digest(disk, part.offset, size) != digest(file, 0, size):
            raise RuntimeError("partition %d does not hold %s" % (part.number, os.path.basename(file)))
    for offset in derive.environment_copies(layout):
        if digest(disk, offset, layout.environment.size) != digest(folder + "/parts/uboot-env.bin", 0, layout.environment.size):
            raise RuntimeError("no environment at %d" % offset)
    if os.stat(disk).st_size > layout.size:
        raise RuntimeError("the image is larger than the disk")


def make_one(layers, path, parts, disk):
    with tempfile.TemporaryDirectory() as folder:
        shutil.move(wic(layers, layouts.load(path), folder + "/wic", os.path.abspath(parts)), disk)


def main():
    layers = os.path.abspath(sys.argv[1])
    if len(sys.argv) == 5:
        make_one(layers, *sys.argv[2:])
        return
    status = 0
    for path in sorted(glob.glob(os.path.join(LAYER, "files", "layouts", "*.toml"))):
        layout = layouts.load(path)
        with tempfile.TemporaryDirectory() as folder:
            try:
                disk = make(layers, layout, folder)
                check(layout, folder, disk)
                print("ok %s: wic makes %s" % (layout.board, layouts.human(os.stat(disk).st_size)))
            except (RuntimeError, fill.FillError) as error:
                status = 1
                print("FAILED %s: %s" % (layout.board, error))
    sys.exit(status)


main()
