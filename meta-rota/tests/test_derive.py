# SPDX-License-Identifier: MIT
import glob
import json
import os
import re
import subprocess
import tempfile
import unittest

from rota import derive, layout as layouts

LAYER = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..")
FILES = sorted(glob.glob(os.path.join(LAYER, "files", "layouts", "*.toml")))
TOOL = os.path.join(LAYER, "scripts", "rota-layout")


def board(name):
    return layouts.load(os.path.join(LAYER, "files", "layouts", name + ".toml"))


class Texts(unittest.TestCase):
    def test_fw_env(self):
        self.assertEqual(derive.fw_env(board("qemuarm64")),
                         "/dev/mtd0 0x4000000 0x40000 0x40000\n/dev/mtd0 0x4040000 0x40000 0x40000\n")
        self.assertEqual(derive.fw_env(board("raspberrypi3-64")),
                         "/dev/mmcblk0 0x400000 0x20000\n/dev/mmcblk0 0x600000 0x20000\n")
        self.assertEqual(derive.fw_env(board("qemux86-64")), "")

    def test_uboot_config(self):
        flash, card = derive.uboot_config(board("qemuarm64")), derive.uboot_config(board("beaglebone-yocto"))
        for line in ("CONFIG_ENV_IS_IN_FLASH=y", "CONFIG_ENV_ADDR_REDUND=0x4040000", "CONFIG_ENV_SECT_SIZE=0x40000"):
            self.assertIn(line + "\n", flash)
        for line in ("# CONFIG_ENV_IS_IN_FAT is not set", "CONFIG_ENV_IS_IN_MMC=y", "CONFIG_ENV_OFFSET_REDUND=0x600000",
                     "CONFIG_SYS_MMC_ENV_DEV=0"):
            self.assertIn(line + "\n", card)
        self.assertEqual(derive.uboot_config(board("raspberrypi5")), "")

    def test_boot_scripts(self):
        self.assertEqual(derive.grub_defines(board("qemux86-64")), """set rota_part_a=2
set rota_part_b=3
set rota_table=gpt
set rota_root_a=PARTLABEL=rootfs_A
set rota_root_b=PARTLABEL=rootfs_B
set rota_root_base=
set rota_kernel=/boot/bzImage
set rota_initrd=
set rota_args="ro rootwait console=ttyS0,115200 panic=5 init=/sbin/init"
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
""")
        values = derive.uboot_board(board("beaglebone-yocto"))
        for line in ("INTERFACE=mmc", "DEVICE=0", "ROOT_B=/dev/mmcblk0p3", "DTB=/boot/am335x-boneblack.dtb",
                     "START=bootz ${kernel_addr_r} ${rota_initrd} ${rota_fdt}"):
            self.assertIn(line + "\n", values)
        autoboot = derive.autoboot(board("raspberrypi5"))
        self.assertTrue(autoboot.startswith("[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n#"))
        self.assertEqual(len(autoboot), 512)
        self.assertEqual(derive.cmdline(board("raspberrypi5"), "B"), "root=/dev/mmcblk0p6 ro rootwait "
                         "console=serial0,115200 panic=5 init=/sbin/init rota.slot=B\n")

    def test_boot_scripts_get_the_words_they_know(self):
        def names(text, pattern):
            return sorted(set(re.findall(pattern, text, re.M)))

        for text, path, pattern in (
                (derive.grub_defines(board("qemux86-64")), "grub/files/rota-grub-defines.cfg", r"^set (\w+)="),
                (derive.uboot_board(board("qemuarm64")), "u-boot/files/rota-board.conf", r"^([A-Z_]+)=")):
            with open(os.path.join(LAYER, "recipes-bsp", path), encoding="utf-8") as file:
                self.assertEqual(names(text, pattern), names(file.read(), pattern), path)

    def test_client(self):
        self.assertEqual(derive.client(board("qemux86-64")), '[slots]\na = "/dev/vda2"\nb = "/dev/vda3"\n\n'
                         '[boot]\nbackend = "grub"\nenv_dir = "/boot/efi/grub-mender-grubenv"\n')
        tryboot = derive.client(board("raspberrypi5"))
        self.assertIn('a = "/dev/mmcblk0p5"\n', tryboot)
        self.assertIn('env_dir = "/dev/mmcblk0p1"\n', tryboot)

    def test_fstab(self):
        self.assertEqual(derive.fstab(board("qemux86-64")),
                         "/dev/vda1 /boot/efi vfat defaults,noatime,nofail 0 0\n"
                         "/dev/vda4 /data ext4 defaults,noatime,nofail 0 2\n")

    def test_facts_are_whole(self):
        for path in FILES:
            facts = json.loads(derive.facts(layouts.load(path)))
            self.assertEqual(facts["slot_size"], next(each["size"] for each in facts["partitions"] if each["use"] == "slot_B"))

    def test_wks_fills_both_slots_with_one_file(self):
        for path in FILES:
            lines = derive.wks(layouts.load(path), "DIR").splitlines()
            self.assertEqual(sum("file=DIR/rootfs.ext4" in line for line in lines), 2, path)


class Genimage(unittest.TestCase):
    """Debian's genimage makes the disk, and its table is the one computed."""

    def test_the_table_is_as_computed(self):
        for path in FILES:
            layout = layouts.load(path)
            with self.subTest(layout.board), tempfile.TemporaryDirectory() as folder:
                table = self.make(layout, folder)
                expected = {each.number: (each.offset // 512, each.size // 512) for each in layout.partitions}
                found = {number: place for number, place in table.items() if number != 4 or 4 in expected}
                self.assertEqual(found, expected)

    def make(self, layout, folder):
        for name in ["uboot-env.bin"] + [derive.image_name(part) for part in layout.partitions]:
            with open(os.path.join(folder, name), "wb") as file:
                file.write(name.encode())
        config = os.path.join(folder, "genimage.cfg")
        with open(config, "w", encoding="utf-8") as file:
            file.write(derive.genimage(layout))
        os.mkdir(os.path.join(folder, "root"))
        subprocess.run(["genimage", "--config", config, "--inputpath", folder, "--outputpath", folder, "--rootpath",
                        os.path.join(folder, "root"), "--tmppath", os.path.join(folder, "tmp"), "--loglevel", "0"],
                       check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        disk = os.path.join(folder, layout.board + ".img")
        self.assertLessEqual(os.stat(disk).st_size, layout.size)
        with open(disk, "rb") as file:
            for offset in derive.environment_copies(layout):
                file.seek(offset)
                self.assertEqual(file.read(9), b"uboot-env")
        dump = subprocess.run(["sfdisk", "--dump", disk], check=True, stdout=subprocess.PIPE).stdout.decode()
        rows = re.findall(r"\.img(\d+) : start= *(\d+), size= *(\d+)", dump)
        return {int(number): (int(start), int(size)) for number, start, size in rows}


class Tool(unittest.TestCase):
    def run_tool(self, *arguments):
        return subprocess.run([TOOL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)

    def test_every_format_of_every_layout(self):
        for path in FILES:
            for form in ("show", "wks", "genimage", "fw-env", "client", "fstab", "json"):
                done = self.run_tool(form, path)
                self.assertEqual((done.returncode, done.stderr), (0, ""), (form, path))

    def test_formats_of_one_boot_loader(self):
        for form, name in (("uboot-config", "qemuarm64"), ("uboot-board", "qemuarm64"), ("grub-defines", "qemux86-64"),
                           ("autoboot", "raspberrypi5"), ("cmdline-a", "raspberrypi5"), ("cmdline-b", "raspberrypi5")):
            self.assertNotEqual(self.run_tool(form, os.path.join(LAYER, "files", "layouts", name + ".toml")).stdout, "", form)

    def test_says_why_not(self):
        done = self.run_tool("show", FILES[0], "--rootfs", str(2**40))
        self.assertEqual(done.returncode, 1)
        self.assertTrue(done.stderr.startswith("rota-layout: the root file system does not fit"), done.stderr)
        done = self.run_tool("show", "nowhere.toml")
        self.assertIn("cannot read the layout nowhere.toml", done.stderr)


if __name__ == "__main__":
    unittest.main()
