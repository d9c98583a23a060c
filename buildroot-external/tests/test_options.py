# SPDX-License-Identifier: MIT
"""The options and the packages, read with Kconfig's language and with make, against stubs of Buildroot."""

import glob
import os
import re
import subprocess
import sys
import unittest

import kconfiglib

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from board import Board  # noqa: E402 (after the path)

TREE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
ROOT = os.path.dirname(TREE)
STUB = os.path.join(TREE, "tests", "stub")
CONFIGS = sorted(glob.glob(os.path.join(TREE, "configs", "*_defconfig")))


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


class Options(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        os.environ.update(BR2_EXTERNAL_ROTA_PATH=TREE, CONFIG_="")
        cls.kconfig = kconfiglib.Kconfig(os.path.join(STUB, "Config.in"), warn_to_stderr=False)

    def test_config_in_has_no_faults(self):
        self.assertEqual(self.kconfig.warnings, [])

    def test_every_option_explains_itself(self):
        for node in self.kconfig.node_iter():
            if isinstance(node.item, kconfiglib.Symbol) and "stub" not in node.filename:
                self.assertTrue(node.help, node.item.name)

    def test_a_board_selects_what_its_image_needs(self):
        for path in CONFIGS:
            self.kconfig.load_config(path)
            for name in ("HOST_RUSTC", "HOST_ROTA_ARTIFACT", "HOST_GENIMAGE", "E2FSPROGS_RESIZE2FS"):
                self.assertEqual(self.kconfig.syms["BR2_PACKAGE_" + name].str_value, "y", (path, name))

    def test_defconfigs_set_options_that_exist(self):
        for path in CONFIGS:
            self.kconfig.load_config(path)
            for name, value in re.findall(r"^(BR2_PACKAGE_(?:HOST_)?ROTA\w*)=(.*)$", read(path), re.M):
                self.assertEqual(self.kconfig.syms[name].str_value, value.strip('"'), (path, name))


class Boards(unittest.TestCase):
    def test_there_are_six(self):
        names = [os.path.basename(path)[len("rota_"):-len("_defconfig")] for path in CONFIGS]
        self.assertEqual(names, ["beaglebone", "qemu_aarch64", "qemu_x86_64", "raspberrypi3_64", "raspberrypi4_64", "raspberrypi5"])
        for name in names:
            self.assertTrue(os.path.isdir(os.path.join(TREE, "board", name)), name)

    def test_files_that_they_name_exist(self):
        for path in CONFIGS:
            for name in re.findall(r"\$\(BR2_EXTERNAL_ROTA_PATH\)(/[^\s\"]+)", read(path)):
                self.assertTrue(os.path.exists(TREE + name), (path, name))

    def test_their_sources_have_hashes(self):
        hashes = "".join(read(path) for path in glob.glob(os.path.join(TREE, "patches", "*", "*.hash")))
        for path in CONFIGS:
            text = read(path)
            wanted = ["linux-%s.tar" % each for each in re.findall(r'^BR2_LINUX_KERNEL_CUSTOM_VERSION_VALUE="(.*)"', text, re.M)]
            wanted += ["u-boot-%s.tar" % each for each in re.findall(r'^BR2_TARGET_UBOOT_CUSTOM_VERSION_VALUE="(.*)"', text, re.M)]
            wanted += re.findall(r'^BR2_LINUX_KERNEL_CUSTOM_TARBALL_LOCATION=".*/(.*)"', text, re.M)
            self.assertTrue(wanted, path)
            for each in wanted:
                self.assertIn("  " + each, hashes, path)

    def test_they_insist_on_hashes(self):
        for path in CONFIGS:
            self.assertIn("\nBR2_DOWNLOAD_FORCE_CHECK_HASHES=y\n", read(path), path)


class Packages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        done = subprocess.run(
            ["make", "-s", "-f", os.path.join(STUB, "Makefile"), "BR2_EXTERNAL_ROTA_PATH=" + TREE, "CONFIG=" + CONFIGS[0],
             "BUILD_DIR=/build", "print"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
        cls.stderr, cls.lines = done.stderr, done.stdout.splitlines()
        cls.values = dict(line.split("=", 1) for line in cls.lines)

    def test_both_packages_are_there(self):
        self.assertEqual(self.stderr, "")
        packages = [line for line in self.lines if line.startswith("package=")]
        self.assertEqual(packages, ["package=rota", "package=host-rota-artifact"])

    def test_version_is_the_client_s(self):
        version = re.search(r'^version = "(.*)"', read(ROOT, "client", "Cargo.toml"), re.M).group(1)
        for name in ("ROTA", "ROTA_ARTIFACT"):
            self.assertEqual(self.values[name + "_VERSION"], version)
            self.assertEqual(self.values[name + "_SOURCE"], "rota-%s-vendored.tar.gz" % version)

    def test_the_tool_s_sources_are_the_client_s(self):
        for value in ("VERSION", "SOURCE", "SITE", "SITE_METHOD", "LICENSE", "LICENSE_FILES"):
            self.assertEqual(self.values["ROTA_" + value], self.values["ROTA_ARTIFACT_" + value])
        self.assertEqual(self.values["ROTA_ARTIFACT_DL_SUBDIR"], "rota")
        self.assertTrue(os.path.isdir(os.path.join(ROOT, "client", self.values["ROTA_ARTIFACT_SUBDIR"])))

    def test_the_profile_is_the_client_s(self):
        cargo, make = read(ROOT, "client", "Cargo.toml"), read(TREE, "package", "rota", "rota.mk")
        release = cargo.split("[profile.release]\n")[1].split("\n[")[0]
        for key, value in re.findall(r"^(opt-level|lto|codegen-units) = (.*)$", release, re.M):
            self.assertIn('CARGO_PROFILE_RELEASE_%s="%s"' % (key.upper().replace("-", "_"), value.strip('"')), make)

    def test_licences_have_their_hashes(self):
        for line in re.findall(r"^sha256 .*$", read(TREE, "package", "rota", "rota.hash"), re.M):
            _, checksum, name = line.split()
            done = subprocess.run(["sha256sum", os.path.join(ROOT, name)], stdout=subprocess.PIPE, universal_newlines=True)
            self.assertEqual(done.stdout.split()[0], checksum)


class Installed(unittest.TestCase):
    """What the client's package puts into the root file system."""

    def install(self, init):
        board = Board("qemu_x86_64", MODULES="single-file " + os.path.join(TREE, "tests", "board.py"))
        self.addCleanup(board.remove)
        board.write("the program", "build", "rota", "target", "target", "release", "rota")
        for folder in ("dist", "modules"):
            os.symlink(os.path.join(ROOT, "client", folder), board.path("build", "rota", folder))
        board.act(init)
        found = {}
        for top, _, files in os.walk(board.path("target")):
            for name in files:
                path = os.path.join(top, name)
                found[path[len(board.path("target")):]] = os.access(path, os.X_OK)
        return found

    def test_with_start_scripts(self):
        self.assertEqual(self.install("sysv"), {
            "/usr/sbin/rota": True, "/usr/lib/rota/rota-data": True, "/usr/lib/rota/rota-guard": True,
            "/usr/sbin/rota-grow-data": True,
            "/usr/lib/rota/modules/v3/board.py": True, "/usr/lib/rota/modules/v3/single-file": True,
            "/etc/init.d/S00rota-guard": True,
            "/etc/init.d/S37rota-grow-data": True, "/etc/init.d/S80rota": True})

    def test_with_systemd(self):
        units = "/usr/lib/systemd/system/"
        self.assertEqual(self.install("systemd"), {
            "/usr/sbin/rota": True, "/usr/lib/rota/rota-data": True, "/usr/lib/rota/rota-guard": True,
            "/usr/sbin/rota-grow-data": True,
            "/usr/lib/rota/modules/v3/board.py": True, "/usr/lib/rota/modules/v3/single-file": True,
            units + "rota.service": False,
            units + "rota-guard.service": False, units + "rota-grow-data.service": False})


if __name__ == "__main__":
    unittest.main()
