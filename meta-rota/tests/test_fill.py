# SPDX-License-Identifier: MIT
import hashlib
import os
import subprocess
import tempfile
import time
import unittest

from rota import derive, fill, layout as layouts

LAYER = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..")
# The sizes of the boards' partitions, shrunk: what counts is that the file systems are made.
SMALL = {"128MiB": "16MiB", "64MiB": "16MiB", "256MiB": "8MiB", "1GiB": "8MiB", "512MiB": "8MiB", "32MiB": "16MiB"}


def board(name):
    with open(os.path.join(LAYER, "files", "layouts", name + ".toml"), encoding="utf-8") as file:
        text = file.read()
    for large, small in SMALL.items():
        text = text.replace('size = "%s"' % large, 'size = "%s"' % small).replace('least = "%s"' % large, 'least = "%s"' % small)
    return layouts.parse(text.replace('"2GiB"', '"64MiB"'), name + ".toml")


def write(path, text="text\n"):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


class Fill(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = folder.name
        for name in ("deploy/rota-grub/EFI/BOOT/bootx64.efi", "deploy/rota-grub/grub/grub.cfg", "deploy/bootfiles/start.elf",
                     "deploy/bootfiles/config.txt", "deploy/u-boot.bin", "rootfs/boot/firmware/kernel8.img", "rootfs/data/rota/seed"):
            write(os.path.join(self.top, name))
        write(os.path.join(self.top, "env.txt"), "mender_boot_part=2\n")
        write(os.path.join(self.top, "rootfs.ext4"), "slot")

    def fill(self, name, boot_files, into="out"):
        source = fill.Source(self.top + "/rootfs", self.top + "/rootfs.ext4", self.top + "/deploy", boot_files,
                             self.top + "/env.txt", os.environ["PATH"] + ":/usr/sbin:/sbin", 1700000000)
        folder = os.path.join(self.top, into)
        layout = board(name)
        fill.fill(layout, folder, source)
        for partition in layout.partitions:
            image = os.path.join(folder, derive.image_name(partition))
            if not partition.use.startswith("slot_"):
                self.assertEqual(os.stat(image).st_size, partition.size, partition.name)
        return folder

    def mtools(self, *command):
        return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()

    def test_grub(self):
        folder = self.fill("qemux86-64", ["rota-grub/*"])
        self.assertIn("text", self.mtools("mtype", "-i", folder + "/esp.vfat", "::/grub/grub.cfg"))
        self.assertIn("bootx64  efi", self.mtools("mdir", "-i", folder + "/esp.vfat", "::/EFI/BOOT"))
        listing = self.mtools("/sbin/debugfs", "-R", "ls /rota", folder + "/data.ext4")
        self.assertIn("seed", listing)

    def test_the_same_input_makes_the_same_files(self):
        one = self.fill("qemux86-64", ["rota-grub/*"], "one")
        time.sleep(1.1)  # file systems count in seconds: without this the two could be alike by chance
        two = self.fill("qemux86-64", ["rota-grub/*"], "two")
        for name in ("esp.vfat", "data.ext4"):
            digests = []
            for folder in (one, two):
                with open(os.path.join(folder, name), "rb") as file:
                    digests.append(hashlib.sha256(file.read()).hexdigest())
            self.assertEqual(digests[0], digests[1], name)

    def test_uboot_on_a_disk_and_in_flash(self):
        folder = self.fill("raspberrypi3-64", ["bootfiles/*", "u-boot.bin;kernel8.img"])
        self.assertIn("kernel8  img", self.mtools("mdir", "-i", folder + "/boot.vfat", "::/"))
        self.assertEqual(os.stat(folder + "/uboot-env.bin").st_size, 128 * 1024)
        self.assertFalse(os.path.exists(folder + "/flash.img"))
        folder = self.fill("qemuarm64", [])
        with open(folder + "/flash.img", "rb") as file:
            flash = file.read()
        self.assertEqual((len(flash), flash[5:23], flash[0x40000 + 5:0x40000 + 23]), (64 * 2**20,) + (b"mender_boot_part=2",) * 2)

    def test_tryboot(self):
        folder = self.fill("raspberrypi5", [])
        self.assertIn("boot_partition=2", self.mtools("mtype", "-i", folder + "/config.vfat", "::/autoboot.txt"))
        for slot, node in (("A", "p5"), ("B", "p6")):
            image = "%s/boot_%s.vfat" % (folder, slot)
            self.assertIn("root=/dev/mmcblk0%s" % node, self.mtools("mtype", "-i", image, "::/cmdline.txt"))
            self.assertIn("kernel8  img", self.mtools("mdir", "-i", image, "::/"))

    def test_a_boot_file_that_is_not_there(self):
        with self.assertRaises(fill.FillError) as caught:
            self.fill("raspberrypi3-64", ["nothing.bin"])
        self.assertIn("nothing.bin", str(caught.exception))


if __name__ == "__main__":
    unittest.main()
