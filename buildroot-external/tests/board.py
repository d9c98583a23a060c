# SPDX-License-Identifier: MIT
"""A board's image made as Buildroot makes it, from a small root file system and stand-ins for what Buildroot builds."""

import os
import re
import shutil
import subprocess
import tempfile

TREE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
META = os.path.join(TREE, "..", "meta-rota")


def run(*command, env=None):
    """Runs a program; returns its output. It must succeed."""
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    if done.returncode:
        raise AssertionError("%s\n%s" % (" ".join(command), done.stdout))
    return done.stdout


class Board:
    """The folders of a build. Acts are Buildroot's: ``uboot``, ``post-build``, ``post-image``."""

    def __init__(self, name, **options):
        self.folder = tempfile.mkdtemp(prefix="rota-%s-" % name)
        self.config = os.path.join(self.folder, "defconfig")
        shutil.copy(os.path.join(TREE, "configs", "rota_%s_defconfig" % name), self.config)
        with open(self.config, "a", encoding="utf-8") as file:
            for option, value in options.items():
                file.write('BR2_PACKAGE_ROTA_%s="%s"\n' % (option, value))
        for each in ("target", "images", "build"):
            os.makedirs(self.path(each))
        self.values = dict(line.split("=", 1) for line in self.act("print").splitlines())
        self.layout = self.values["ROTA_LAYOUT"]

    def remove(self):
        shutil.rmtree(self.folder)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def write(self, text, *names):
        os.makedirs(os.path.dirname(self.path(*names)), exist_ok=True)
        with open(self.path(*names), "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, *names):
        with open(self.path(*names), "rb") as file:
            return file.read()

    def act(self, act):
        # The host's programs for disks are in sbin.
        env = dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")
        return run("make", "-s", "-f", os.path.join(TREE, "tests", "stub", "Makefile"), "BR2_EXTERNAL_ROTA_PATH=" + TREE,
                   "CONFIG=" + self.config, "TARGET_DIR=" + self.path("target"), "BINARIES_DIR=" + self.path("images"),
                   "BUILD_DIR=" + self.path("build"), act, env=env)

    def from_layout(self, form):
        return run(os.path.join(META, "scripts", "rota-layout"), form, self.layout)

    @property
    def has_uboot(self):
        return "fragments" in self.values and self.values["fragments"] != ""

    def build(self):
        """What Buildroot has built when the scripts are called."""
        self.write("/dev/root / auto rw 0 1\n", "target", "etc", "fstab")
        self.write("#!/bin/sh\n", "target", "sbin", "init")
        os.makedirs(self.path("target", "var", "lib"), exist_ok=True)
        # With tryboot the firmware starts a kernel whose name the board's config.txt says.
        kernel = re.search('"kernel": "(.*)"', self.from_layout("json")).group(1) or "/boot/Image"
        self.write("kernel", "target", kernel.lstrip("/"))
        self.write("kernel", "images", os.path.basename(kernel))
        for entry in self.values["ROTA_BOOT_FILES"].split():
            self.write("stands for " + entry, "images", entry.replace("*", "x"))
        self.write("grub", "images", "efi-part", "EFI", "BOOT", "bootx64.efi")
        self.write("not rota's", "images", "efi-part", "EFI", "BOOT", "grub.cfg")
        if self.has_uboot:
            self.act("uboot")

    def rootfs(self):
        """The root file system's image."""
        run("/sbin/mke2fs", "-q", "-t", "ext4", "-d", self.path("target"), self.path("images", "rootfs.ext4"), "8M")

    def make(self):
        self.build()
        self.act("post-build")
        self.rootfs()
        return self.act("post-image")
