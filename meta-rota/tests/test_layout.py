# SPDX-License-Identifier: MIT
import glob
import os
import unittest

from rota import layout as layouts

MIB = 2**20
FILES = sorted(glob.glob(os.path.join(os.path.dirname(__file__), "..", "files", "layouts", "*.toml")))

GRUB = """
[disk]
device = "/dev/nvme0n1"
table = "gpt"
size = "1GiB"
[boot]
backend = "grub"
kernel = "/boot/bzImage"
[environment]
folder = "/boot/efi/grub-mender-grubenv"
[[partition]]
name = "esp"
use = "boot"
filesystem = "vfat"
size = "64MiB"
[[partition]]
name = "rootfs_A"
use = "slot_A"
size = "256MiB"
[[partition]]
name = "rootfs_B"
use = "slot_B"
size = "256MiB"
[[partition]]
name = "data"
use = "data"
at_least = "128MiB"
"""

UBOOT = GRUB.replace('"grub"', '"uboot"\nloader_disk = "mmc 0"\nstart = "booti"').replace('size = "1GiB"', 'size = "1GiB"\nstart = "4MiB"').replace(
    'folder = "/boot/efi/grub-mender-grubenv"', 'offsets = ["1MiB", "2MiB"]\nsize = "64KiB"')


def places(layout):
    return [(each.number, each.offset // MIB, each.size // MIB) for each in layout.partitions]


class Placing(unittest.TestCase):
    def test_one_after_the_other(self):
        layout = layouts.parse(GRUB, "x.toml")
        self.assertEqual(places(layout), [(1, 1, 64), (2, 65, 256), (3, 321, 256), (4, 577, 128)])
        self.assertEqual(layout.image_size, (577 + 128 + 1) * MIB)
        self.assertEqual(layout.node(layout.of("slot_B")), "/dev/nvme0n1p3")

    def test_slots_that_grow_share_what_is_left(self):
        layout = layouts.parse(GRUB.replace('size = "256MiB"', 'at_least = "256MiB"'), "x.toml")
        # 1024 - 1 - 64 - 128 - 1 = 830, halved
        self.assertEqual(places(layout), [(1, 1, 64), (2, 65, 415), (3, 480, 415), (4, 895, 128)])
        self.assertEqual(layout.image_size, layout.size)

    def test_an_mbr_of_more_than_four_has_logical_partitions(self):
        layout = layouts.load(next(path for path in FILES if "raspberrypi5" in path))
        self.assertEqual([each.number for each in layout.partitions], [1, 2, 3, 5, 6, 7])
        self.assertEqual([each.offset // MIB for each in layout.partitions], [4, 20, 148, 280, 1308, 2336])
        self.assertEqual(layout.node(layout.of("slot_A")), "/dev/mmcblk0p5")

    def test_every_layout_we_ship_fits(self):
        self.assertGreaterEqual(len(FILES), 6)
        for path in FILES:
            layout = layouts.load(path)
            self.assertLessEqual(layout.image_size, layout.size, path)
            at = 0
            for each in layout.partitions:
                self.assertGreaterEqual(each.offset, at, path)
                self.assertEqual((each.offset % layout.align, each.size % layout.align), (0, 0), path)
                at = each.end


class Refusing(unittest.TestCase):
    def refuses(self, text, *words):
        with self.assertRaises(layouts.LayoutError) as caught:
            layouts.parse(text, "x.toml")
        for word in words:
            self.assertIn(word, str(caught.exception))

    def test_what_does_not_fit_with_the_arithmetic(self):
        self.refuses(GRUB.replace("1GiB", "512MiB"), "194 MiB more than the disk has", "706 MiB  needed", "512 MiB  the disk has",
                     "at least 706 MiB", "each slot at most 159 MiB")
        fits = GRUB.replace("1GiB", "512MiB").replace('"256MiB"', '"159MiB"')
        self.assertEqual(layouts.parse(fits, "x.toml").image_size, 512 * MIB)
        self.refuses(GRUB.replace("1GiB", "512MiB").replace("64MiB", "900MiB"), "at least 1542 MiB")

    def test_a_root_file_system_that_is_too_large(self):
        layout = layouts.parse(GRUB, "x.toml")
        layouts.check_rootfs(layout, 256 * MIB)
        with self.assertRaises(layouts.LayoutError) as caught:
            layouts.check_rootfs(layout, 300 * MIB + MIB // 2)
        for word in ("300.5 MiB  root file system", "256 MiB  slot", "44.5 MiB  too much", "set both slots to 301 MiB",
                     "796 MiB of the disk's 1024 MiB"):
            self.assertIn(word, str(caught.exception))
        with self.assertRaises(layouts.LayoutError) as caught:
            layouts.check_rootfs(layout, 500 * MIB)
        self.assertIn("would need a disk of 1194 MiB", str(caught.exception))

    def test_unknown_words(self):
        self.refuses(GRUB.replace("table =", "tabel ="), "x.toml:4", 'did you mean "table"?')
        self.refuses(GRUB.replace('"grub"', '"lilo"'), "x.toml:7", "expected one of grub, uboot, tryboot")
        self.refuses(GRUB.replace('"64MiB"', '"64M"'), "x.toml:15", '"64MiB"')
        self.refuses(GRUB.replace('"1GiB"', "true"), "x.toml:5", "expected a size")
        self.refuses(GRUB + "[extra]\n", "unknown key", "extra")
        self.refuses("", "one [disk]")

    def test_partitions_that_make_no_sense(self):
        self.refuses(GRUB.replace('"rootfs_B"', '"rootfs_A"'), "two partitions are called")
        self.refuses(GRUB.replace('"slot_B"', '"slot_A"'), 'of use "slot_A"')
        self.refuses(GRUB.replace('use = "data"', 'use = "other"').replace("at_least", "size"), 'no partition is of use "data"')
        self.refuses(GRUB.replace('"256MiB"', '"255MiB"', 1), "must be alike")
        self.refuses(GRUB.replace('"128MiB"', '"1000KiB"'), "not a multiple of align (1 MiB); write 1 MiB")
        self.refuses(GRUB.replace('"64MiB"', "0"), "not a multiple")
        self.refuses(GRUB.replace('size = "64MiB"', 'at_least = "64MiB"'), "only the slots and the data")
        self.refuses(GRUB.replace('at_least = "128MiB"', ""), "either size or at_least")
        self.refuses(GRUB.replace('name = "data"', 'name = "a b"'), "letters")
        self.refuses(GRUB + '[[partition]]\nname = "z"\nuse = "other"\nsize = "1MiB"\n', "must be the last one")
        self.refuses(GRUB.replace('"1GiB"', '"1GiB"\nstart = "1536KiB"'), "cannot start")
        self.refuses(GRUB.replace('"grub"', '"tryboot"').replace('[environment]\nfolder = "/boot/efi/grub-mender-grubenv"', ""),
                     'use "config", which tryboot needs')

    def test_environments(self):
        layouts.parse(UBOOT, "x.toml")
        self.refuses(UBOOT.replace('["1MiB", "2MiB"]', '["1MiB"]'), "two copies")
        self.refuses(UBOOT.replace('["1MiB", "2MiB"]', '["1MiB", "4MiB"]'), "lies on esp")
        self.refuses(UBOOT.replace('["1MiB", "2MiB"]', '[0, "1MiB"]'), "the partition table")
        self.refuses(UBOOT.replace('["1MiB", "2MiB"]', '["1MiB", 1081344]'), "the other copy")
        self.refuses(UBOOT.replace('"2MiB"', "2097153"), "does not fill blocks of 512 bytes")
        self.refuses(UBOOT.replace("offsets", 'device = "/dev/mtd0"\noffsets'), "erase")
        self.refuses(UBOOT.replace('"mmc 0"', '"nvme 0"'), "use files, or flash")
        self.refuses(UBOOT.replace('"mmc 0"', '"mmc"'), 'for example "mmc 0"')
        self.refuses(UBOOT.replace('"uboot"', '"grub"'), "environment of grub is told by folder")
        self.refuses(GRUB.replace('[environment]\nfolder = "/boot/efi/grub-mender-grubenv"', ""), "there is none")


if __name__ == "__main__":
    unittest.main()
