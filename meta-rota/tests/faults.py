# SPDX-License-Identifier: MIT
"""Seeds faults that layers are known to ship with, one at a time in a copy of the checkout, and shows that the checks see them.

    faults.py CHECKOUT PYTHON OELINT

PYTHON has bb and kas; OELINT is the command of oelint-adv with its arguments, but for the release and the files.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile

GRUB = "meta-rota/recipes-bsp/grub/rota-grub_1.0.bb"
GROW = "meta-rota/recipes-rota/rota-grow-data/rota-grow-data_1.0.bb"
CONF = "meta-rota/recipes-rota/rota-conf/rota-conf_1.0.bb"
ROTA = "meta-rota/recipes-rota/rota/rota.inc"
CRATES = "meta-rota/recipes-rota/rota/rota-crates.inc"
LAYER = "meta-rota/conf/layer.conf"
APPEND = "meta-rota/recipes-bsp/u-boot/u-boot_%.bbappend"
IMAGE = "meta-rota/classes-recipe/rota-image.bbclass"
MINIMAL = "meta-rota/recipes-rota/images/rota-image-minimal.bb"
GIT = "meta-rota/recipes-rota/rota/rota_git.bb"
QEMU = "meta-rota/files/layouts/qemux86-64.toml"

# What it is, the checks that must see it (one of them is enough), the file, what is there, and what takes its place.
FAULTS = [
    ("a quote that is not closed", "layer", GROW, 'SECTION = "base"', 'SECTION = "base'),
    ("a class that is not there", "layer", GROW, "inherit allarch", "inherit alarch"),
    ("a required file that is not there", "layer", ROTA, "require rota-sources.inc", "require rota-source.inc"),
    ("an override of old: do_install_append", "layer", GRUB, "do_install[noexec]", "do_install_append() {\n    :\n}\ndo_install[noexec]"),
    ("an override of old: RDEPENDS_${PN}", "oelint", GROW, "RDEPENDS:${PN} =", "RDEPENDS_${PN} ="),
    ("a variable misspelt", "oelint", GROW, "SUMMARY =", "SUMARY ="),
    ("an error in inline Python", "layer", GROW, "${@d.getVar('UNPACKDIR')", "${@d.getVar('UNPACKDIR'"),
    ("an error in a Python task", "layer", CONF, "import shutil", "import"),
    ("an error in a shell task", "layer", GROW, "    install -D -m 0755 ${S}/rota-grow-data", "    if ; then\n    install -D -m 0755 ${S}/rota-grow-data"),
    ("a crate without checksum", "layer", CRATES, "SRC_URI[serde-", "SRC_URI[sered-"),
    ("a crate of another version than the lock file's", "crates", CRATES, "crate://crates.io/serde/1", "crate://crates.io/serde/9"),
    ("a tag in the place of a commit", "layer", GIT, 'ROTA_GIT_URI ?= ""\nROTA_GIT_REV ?= ""',
     'ROTA_GIT_URI ?= "git://example.com/rota;protocol=https;branch=main"\nROTA_GIT_REV ?= "v1.0"'),
    ("a git source without branch", "layer", GIT, 'ROTA_GIT_URI ?= ""\nROTA_GIT_REV ?= ""',
     'ROTA_GIT_URI ?= "git://example.com/rota;protocol=https"\nROTA_GIT_REV ?= "%s"' % ("a" * 40)),
    ("a local file that is not there", "layer", GROW, "file://rota-grow-data.init", "file://rota-grow.init"),
    ("an append to no recipe", "layer", APPEND, None, "u-boots_%.bbappend"),
    ("a layer that does not name the series", "layer", LAYER, '"scarthgap wrynose"', '"scarthgap"'),
    ("sources outside of UNPACKDIR", "layer", GROW, "S = \"${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}\"", 'S = "${WORKDIR}/git"'),
    ("a kickstart file that is not there", "layer", IMAGE, 'WKS_FILES = "rota.wks.in"', 'WKS_FILES = "rota.wks"'),
    ("no licence sum", "layer", GROW, "LIC_FILES_CHKSUM", "LIC_FILES_CHECKSUM"),
    ("a wrong licence sum", "layer", "meta-rota/recipes-rota/rota/rota-sources.inc", "md5=e6b3", "md5=e6b4"),
    ("an append without its blank", "oelint", IMAGE, 'IMAGE_INSTALL:append = " ', 'IMAGE_INSTALL:append = "'),
    ("a unit that is not there", "layer", ROTA, '"rota.service"', '"rotad.service"'),
    ("a version that is not the client's", "layer", "client/Cargo.toml", 'version = "0.1.0"', 'version = "0.2.0"'),
    ("a test of the manifest that is not among the sources", "layer", "meta-rota/recipes-rota/rota/rota-sources.inc",
     "    file://client/artifact/tests \\\n", ""),
    ("a layout that does not fit", "layer", QEMU, 'size = "2GiB"', 'size = "1GiB"'),
    ("a word that layouts do not know", "layer", QEMU, "device =", "devise ="),
    ("a kas file with a key that kas does not know", "kas", "kas/qemuarm64.yml", "machine:", "machines:"),
    ("a kas file that includes nothing there", "kas", "kas/qemuarm64.yml", "include/rota.yml", "include/rotas.yml"),
    ("a layer that is not pinned", "kas", "kas/include/scarthgap.yml", "    meta-yocto:\n      commit", "    meta-yoctos:\n      commit"),
]


class Copy:
    """A copy of what the checks read, without build outputs."""

    def __init__(self, checkout, folder):
        self.top = os.path.join(folder, "rota")
        listed = subprocess.run(["git", "-C", checkout, "ls-files", "-z", "meta-rota", "client", "kas", "LICENSE-MIT", "LICENSE-APACHE"],
                                check=True, stdout=subprocess.PIPE).stdout.decode()
        for name in listed.split("\0")[:-1]:
            source, target = os.path.join(checkout, name), os.path.join(self.top, name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if os.path.lexists(source):
                shutil.copy(source, target, follow_symlinks=False)

    def seed(self, name, old, new):
        """Puts the fault in and returns what takes it out again."""
        path = os.path.join(self.top, name)
        if old is None:
            renamed = os.path.join(os.path.dirname(path), new)
            os.rename(path, renamed)
            return lambda: os.rename(renamed, path)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if old not in text:
            raise SystemExit("faults: %s does not hold %r any more; bring the fault up to date" % (name, old))
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(old, new, 1))

        def restore():
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        return restore


def commands(check, top, python, oelint, name):
    layer = os.path.join(top, "meta-rota")
    tests = os.path.join(layer, "tests")
    return {
        "layer": [[python, "-B", tests + "/check_layer.py", layer, series, "qemux86-64"] for series in ("wrynose", "scarthgap")],
        "kas": [[python, "-B", tests + "/check_kas.py", top]],
        "crates": [[python, "-B", layer + "/scripts/update-crates", "--check"]],
        "oelint": [oelint + ["--release", "scarthgap", os.path.join(top, name)]],
    }[check]


def main():
    checkout, python, oelint = os.path.abspath(sys.argv[1]), sys.argv[2], shlex.split(sys.argv[3])
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(checkout, folder)
        for what, check, name, old, new in FAULTS:
            restore = copy.seed(name, old, new)
            said = ""
            for command in commands(check, copy.top, python, oelint, name):
                done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                if done.returncode:
                    said = done.stdout.decode(errors="replace").strip().splitlines()[0]
                    break
            restore()
            passed, failed = (passed + 1, failed) if said else (passed, failed + 1)
            print("%-7s %-50s %s" % ("caught" if said else "MISSED", what, said.replace(copy.top + "/", "")[:110]))
    print("faults: %d caught, %d missed" % (passed, failed))
    sys.exit(bool(failed))


main()
