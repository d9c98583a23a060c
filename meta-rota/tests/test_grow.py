# SPDX-License-Identifier: MIT
import os
import re
import subprocess
import tempfile
import unittest

import test_derive

SCRIPT = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "recipes-rota", "rota-grow-data", "files", "rota-grow-data")
MIB = 2**20


class Grow(unittest.TestCase):
    """The script that runs on the device, on images of disks that turned out larger."""

    def grows(self, name):
        layout = test_derive.board(name)
        data = layout.of("data")
        with tempfile.TemporaryDirectory() as folder:
            test_derive.Genimage().make(layout, folder)
            disk = os.path.join(folder, layout.board + ".img")
            before = self.table(disk)
            self.assertEqual(self.run_script(disk, data.number), "")
            os.truncate(disk, layout.image_size + 600 * MIB)
            self.assertIn("partition %d" % data.number, self.run_script(disk, data.number))
            after = self.table(disk)
            self.assertEqual(self.run_script(disk, data.number), "", "grows once")
        self.assertEqual({**before, data.number: None, 4: None}, {**after, data.number: None, 4: None}, "all others stay")
        start, size = after[data.number]
        self.assertEqual(start * 512, data.offset)
        left = layout.image_size + 600 * MIB - (start + size) * 512
        self.assertTrue(0 < left <= 2 * MIB, left)
        return before, after

    def run_script(self, disk, number):
        done = subprocess.run(["sh", SCRIPT, disk, str(number)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout.decode()

    def table(self, disk):
        dump = subprocess.run(["sfdisk", "--dump", disk], check=True, stdout=subprocess.PIPE).stdout.decode()
        self.assertEqual(subprocess.run(["sfdisk", "--verify", disk], stdout=subprocess.PIPE, stderr=subprocess.STDOUT).returncode, 0)
        rows = re.findall(r"\.img(\d+) : start= *(\d+), size= *(\d+)", dump)
        return {int(number): (int(start), int(size)) for number, start, size in rows}

    def test_gpt(self):
        self.grows("qemux86-64")

    def test_mbr(self):
        self.grows("beaglebone-yocto")

    def test_logical_partitions_and_what_holds_them(self):
        before, after = self.grows("raspberrypi5")
        self.assertGreater(after[4][1], before[4][1])


if __name__ == "__main__":
    unittest.main()
