# SPDX-License-Identifier: MIT
"""Every board's disk image and artifact: the scripts run as Buildroot runs them, with Debian's genimage and rota-artifact."""

import io
import json
import os
import sys
import tarfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from board import Board, run  # noqa: E402 (after the path)

SECTOR = 512
BOARDS = ("beaglebone", "qemu_aarch64", "qemu_x86_64", "raspberrypi3_64", "raspberrypi4_64", "raspberrypi5")


def table(image):
    """The partitions of an image, by number, as sfdisk reads them."""
    text = json.loads(run("/sbin/sfdisk", "--json", image))["partitiontable"]
    return text["label"], {int(each["node"][len(image):].lstrip("p")): each for each in text["partitions"]}


def cut(image, offset, size):
    with open(image, "rb") as file:
        file.seek(offset)
        return file.read(size)


class Image(unittest.TestCase):
    """One made image; the tests are of the class below."""

    @classmethod
    def setUpClass(cls):
        cls.board = Board(cls.name)
        cls.said = cls.board.make()
        cls.facts = json.loads(cls.board.from_layout("json"))
        cls.image = cls.board.path("images", cls.facts["board"] + ".img")
        cls.artifact = cls.board.path("images", "release-1.mender")

    @classmethod
    def tearDownClass(cls):
        cls.board.remove()

    def part(self, use):
        return next(each for each in self.facts["partitions"] if each["use"] == use)

    def fat(self, use):
        return "%s@@%d" % (self.image, self.part(use)["offset"])

    def on_fat(self, use, path):
        return run("mtype", "-i", self.fat(use), "::" + path)

    def test_partitions_are_the_layout_s(self):
        label, found = table(self.image)
        self.assertEqual(label, {"gpt": "gpt", "mbr": "dos"}[self.facts["table"]])
        for each in self.facts["partitions"]:
            entry = found[each["number"]]
            self.assertEqual((entry["start"] * SECTOR, entry["size"] * SECTOR), (each["offset"], each["size"]), each["name"])
            self.assertEqual(entry["type"].lower(), each["type"].replace("0x", ""), each["name"])
            if label == "gpt":
                self.assertEqual((entry["name"], entry["uuid"].lower()), (each["name"], each["uuid"]))

    def test_both_slots_hold_what_the_artifact_carries(self):
        rootfs = self.board.read("images", "rootfs.ext4")
        for use in ("slot_A", "slot_B"):
            self.assertEqual(cut(self.image, self.part(use)["offset"], len(rootfs)), rootfs, use)
        with tarfile.open(self.artifact) as outer:
            payload = outer.extractfile("data/0000.tar.gz").read()
        with tarfile.open(fileobj=io.BytesIO(payload)) as inner:
            self.assertEqual(inner.extractfile("rootfs.ext4").read(), rootfs)
        self.assertIn("is not signed", self.said)

    def test_the_artifact_is_for_this_device(self):
        said = run("rota-artifact", "read", self.artifact)
        self.assertIn("release-1", said)
        self.assertIn(self.facts["board"], said)

    def test_the_client_is_configured(self):
        conf = self.board.read("target", "etc", "rota", "rota.toml").decode()
        self.assertIn('device_type = "%s"\n' % self.facts["board"], conf)
        self.assertTrue(conf.endswith(self.board.from_layout("client")), conf)
        self.assertEqual(self.board.read("target", "etc", "rota", "artifact_info"), b"artifact_name=release-1\n")
        self.assertEqual(os.readlink(self.board.path("target", "var", "lib", "rota")), "/data/rota")

    def test_the_data_partition_has_the_client_s_folder(self):
        data = self.part("data")
        self.assertIn("\n%s /data ext4 " % data["node"], self.board.read("target", "etc", "fstab").decode())
        file = self.board.path("data.ext4")
        with open(file, "wb") as out:
            out.write(cut(self.image, data["offset"], data["size"]))
        said = run("/sbin/debugfs", "-R", "stat /rota", file)
        self.assertRegex(said, r"Type: directory +Mode: +0700")
        self.assertRegex(said, r"User: +0 +Group: +0 ")

    def test_the_loader_s_files(self):
        getattr(self, self.facts["backend"])()

    def uboot(self):
        for entry in self.board.values["ROTA_BOOT_FILES"].split():
            name = os.path.basename(entry).replace("*", "x")
            self.assertEqual(self.on_fat("boot", "/" + name), "stands for " + entry)
        # The environment's first copy begins a whole environment: slot A, committed, with the boot command.
        config = self.board.path("fw_env.config")
        flash = self.board.path("images", "flash.img")
        bank = 64 << 20 if self.facts["environment"]["device"].startswith("/dev/mtd") else 0
        with open(config, "w", encoding="utf-8") as file:
            for line in self.board.read("target", "etc", "fw_env.config").decode().splitlines():
                _, offset, size = line.split()[:3]
                file.write("%s 0x%x %s\n" % (flash if bank else self.image, int(offset, 0) - bank, size))
        values = dict(line.split("=", 1) for line in run("/usr/bin/fw_printenv", "-c", config).splitlines())
        wanted = {"mender_boot_part": str(self.part("slot_A")["number"]), "upgrade_available": "0", "arch": "arm"}
        self.assertEqual({key: values.get(key) for key in wanted}, wanted)
        self.assertIn("rota.slot=A", values["bootcmd"])
        self.assertIn("bootcmd=" + values["bootcmd"], self.board.read("target", "etc", "u-boot-initial-env").decode())
        built = self.board.read("build", "uboot", ".config").decode()
        self.assertIn("CONFIG_ENV_SIZE=0x%x\n" % self.facts["environment"]["size"], built)

    def grub(self):
        self.assertEqual(self.on_fat("boot", "/EFI/BOOT/bootx64.efi"), "grub")
        self.assertNotIn("grub.cfg", run("mdir", "-b", "-i", self.fat("boot"), "::/EFI/BOOT/").lower())
        self.assertIn("rota's boot script for GRUB", self.on_fat("boot", "/grub/grub.cfg"))
        self.assertEqual(self.on_fat("boot", "/grub/rota-grub-defines.cfg"), self.board.from_layout("grub-defines"))
        for copy in "12":
            env = self.on_fat("boot", "/grub-mender-grubenv/mender_grubenv%s/env" % copy)
            self.assertEqual(len(env), 1024)
            self.assertIn("\nmender_boot_part=%d\n" % self.part("slot_A")["number"], env)

    def tryboot(self):
        self.assertEqual(self.on_fat("config", "/autoboot.txt"), self.board.from_layout("autoboot"))
        for slot in "AB":
            self.assertEqual(self.on_fat("boot_" + slot, "/cmdline.txt"), self.board.from_layout("cmdline-" + slot.lower()))
            self.assertEqual(self.on_fat("boot_" + slot, "/Image"), "stands for Image")
        # The slot carries the files for the boot partition that goes with it.
        self.assertIn(b"root=", self.board.read("target", "boot", "firmware", "cmdline.txt"))


def load_tests(loader, _tests, _pattern):
    """The tests of an image, for every board or the one of ROTA_BOARD; and the refusals, which ROTA_BOARD=none picks."""
    wanted = os.environ.get("ROTA_BOARD")
    suite = unittest.TestSuite()
    for name in BOARDS if wanted is None else {wanted}.intersection(BOARDS):
        suite.addTests(loader.loadTestsFromTestCase(type(name, (Image,), {"name": name})))
    if wanted in (None, "none"):
        suite.addTests(loader.loadTestsFromTestCase(Refusals))
    return suite


class Refusals(unittest.TestCase):
    """What the scripts refuse, and what they leave alone."""

    def board(self, **options):
        board = Board("beaglebone", **options)
        self.addCleanup(board.remove)
        if board.layout:
            board.build()
        return board

    def assert_refused(self, board, act, *words):
        with self.assertRaises(AssertionError) as caught:
            board.act(act)
        for word in words:
            self.assertIn(word, str(caught.exception))

    def keys(self, board, name):
        private, public = board.path(name + ".key"), board.path(name + ".pub")
        run("openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", private)
        run("openssl", "ec", "-in", private, "-pubout", "-out", public)
        return private, public

    def test_an_image_without_kernel(self):
        board = self.board()
        os.remove(board.path("target", "boot", "zImage"))
        self.assert_refused(board, "post-build", "no /boot/zImage", "BR2_LINUX_KERNEL_INSTALL_TARGET")

    def test_a_configuration_without_layout(self):
        board = self.board(LAYOUT="")
        self.assert_refused(board, "post-build", "BR2_PACKAGE_ROTA_LAYOUT")

    def test_a_root_file_system_that_is_too_large(self):
        board = self.board()
        board.act("post-build")
        with open(board.path("images", "rootfs.ext4"), "wb") as file:
            file.truncate(2 << 30)
        self.assert_refused(board, "post-image", "does not fit into a slot")

    def test_an_unsigned_artifact_for_a_device_with_keys(self):
        keys = self.keys(self.board(), "one")
        board = self.board(VERIFY_KEYS=keys[1])
        board.act("post-build")
        board.rootfs()
        self.assert_refused(board, "post-image", "BR2_PACKAGE_ROTA_SIGNING_KEY")

    def test_a_key_that_the_device_does_not_know(self):
        other = self.board()
        board = self.board(VERIFY_KEYS=self.keys(other, "one")[1], SIGNING_KEY=self.keys(other, "two")[0])
        board.act("post-build")
        board.rootfs()
        self.assert_refused(board, "post-image", "signature")

    def test_a_signed_artifact_and_a_server(self):
        other = self.board()
        private, public = self.keys(other, "one")
        other.write("a certificate", "ca.pem")
        board = self.board(VERIFY_KEYS=public, SIGNING_KEY=private,
                           SERVER_URL="https://updates.example.com", SERVER_CA=other.path("ca.pem"),
                           ARTIFACT_ARGS="--compression none --provides board:one")
        board.act("post-build")
        board.rootfs()
        self.assertNotIn("is not signed", board.act("post-image"))
        with tarfile.open(board.path("images", "release-1.mender")) as artifact:
            self.assertIn("data/0000.tar", artifact.getnames())
        conf = board.read("target", "etc", "rota", "rota.toml").decode()
        self.assertIn('[server]\nurl = "https://updates.example.com"\nca = "/etc/rota/server-ca.pem"\n', conf)
        self.assertIn('[artifact]\nverify_keys = ["/etc/rota/keys/one.pub"]\n', conf)
        self.assertEqual(board.read("target", "etc", "rota", "server-ca.pem"), b"a certificate")
        self.assertIn(b"PUBLIC KEY", board.read("target", "etc", "rota", "keys", "one.pub"))

    def test_a_second_run_changes_nothing(self):
        board = self.board()
        board.act("post-build")
        before = board.read("target", "etc", "fstab"), board.read("target", "etc", "rota", "rota.toml")
        board.act("post-build")
        self.assertEqual((board.read("target", "etc", "fstab"), board.read("target", "etc", "rota", "rota.toml")), before)

    def test_an_overlay_s_configuration_stays(self):
        board = self.board()
        board.write("# my own\n", "target", "etc", "rota", "rota.toml")
        board.act("post-build")
        self.assertEqual(board.read("target", "etc", "rota", "rota.toml"), b"# my own\n")

    def test_u_boot_that_keeps_its_environment_elsewhere(self):
        board = Board("beaglebone")
        self.addCleanup(board.remove)
        board.write("# nothing of rota's\n", "own.fragment")
        with open(board.config, "a", encoding="utf-8") as file:
            file.write('BR2_TARGET_UBOOT_CONFIG_FRAGMENT_FILES="%s"\n' % board.path("own.fragment"))
        self.assert_refused(board, "uboot", "CONFIG_ENV_IS_IN_MMC=y", "$(ROTA_UBOOT_FRAGMENTS)")


if __name__ == "__main__":
    unittest.main()
