# SPDX-License-Identifier: MIT
"""What follows from a layout: disk images for wic and genimage, what boot loaders and the client are told, flashing sizes."""

import json
import uuid

from . import layout as layouts

EFI_SYSTEM = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
BASIC_DATA = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
NAMES = uuid.UUID("6a1e1ad3-1cf4-5a6f-9b0e-2f3f0d1c7a55")


def image_name(partition):
    """The file that fills a partition; both slots are filled with the same one."""
    return "rootfs.%s" % partition.filesystem if partition.use.startswith("slot_") else "%s.%s" % (
        partition.name, partition.filesystem)


def environment_copies(layout):
    """Offsets on the disk where ``uboot-env.bin``, one copy of U-Boot's first environment, goes; none when it lies elsewhere."""
    return layout.environment.offsets if layout.environment.device == layout.device else []


def gpt_type(layout, partition):
    if partition.use == "boot" and layout.boot.backend == "grub":
        return EFI_SYSTEM
    return BASIC_DATA if partition.filesystem == "vfat" else LINUX


def mbr_type(partition):
    return "0xc" if partition.filesystem == "vfat" else "0x83"


def gpt_uuid(layout, name):
    """The same for every build of a board: images are reproducible."""
    return str(uuid.uuid5(NAMES, "%s/%s" % (layout.board, name)))


def is_active(layout, partition):
    """The partition that a boot ROM looks for in an MBR: the first one, when it is FAT."""
    return layout.table == "mbr" and partition.number == 1 and partition.filesystem == "vfat"


def wks(layout, folder):
    """A kickstart file for wic; ``folder`` holds the files that fill the partitions."""
    lines = ["bootloader --ptable %s" % {"gpt": "gpt", "mbr": "msdos"}[layout.table]]
    for offset in environment_copies(layout):
        lines.append('part --source rawcopy --sourceparams="file=%s/uboot-env.bin" --fstype=none --no-table '
                     "--fixed-size %dK --offset %dK" % (folder, layout.environment.size // 1024, offset // 1024))
    for each in layout.partitions:
        words = ["part", "--source rawcopy", '--sourceparams="file=%s/%s"' % (folder, image_name(each)),
                 "--fstype=%s" % each.filesystem, "--fixed-size %dK" % (each.size // 1024)]
        # wic counts the records before logical partitions only when it aligns by itself.
        words.append("--align %d" % (layout.align // 1024) if each.logical else "--offset %dK" % (each.offset // 1024))
        if layout.table == "gpt":
            words += ["--part-name %s" % each.name, "--part-type %s" % gpt_type(layout, each),
                      "--uuid %s" % gpt_uuid(layout, each.name)]
        else:
            words.append("--system-id %s" % mbr_type(each))
        if is_active(layout, each):
            words.append("--active")
        lines.append(" ".join(words))
    return "\n".join(lines) + "\n"


def genimage(layout):
    """The disk image for genimage; the files that fill the partitions are its other images, or in its input path."""
    lines = ["image %s.img {" % layout.board, "\thdimage {"]
    lines.append('\t\tpartition-table-type = "%s"' % layout.table)
    lines.append("\t\talign = %d" % layout.align)
    if layout.table == "gpt":
        lines.append('\t\tdisk-uuid = "%s"' % gpt_uuid(layout, "disk"))
    else:
        lines.append("\t\tdisk-signature = 0x%s" % gpt_uuid(layout, "disk")[:8])
    lines.append("\t}")
    for number, offset in enumerate(environment_copies(layout), 1):
        lines += ["\tpartition uboot-env-%d {" % number, '\t\timage = "uboot-env.bin"', "\t\tin-partition-table = false",
                  "\t\toffset = %d" % offset, "\t\tsize = %d" % layout.environment.size, "\t}"]
    for each in layout.partitions:
        lines += ["\tpartition %s {" % each.name, '\t\timage = "%s"' % image_name(each)]
        if not each.logical:
            lines.append("\t\toffset = %d" % each.offset)
        lines.append("\t\tsize = %d" % each.size)
        if layout.table == "gpt":
            lines.append('\t\tpartition-type-uuid = "%s"' % gpt_type(layout, each))
            lines.append('\t\tpartition-uuid = "%s"' % gpt_uuid(layout, each.name))
        else:
            lines.append("\t\tpartition-type = %s" % mbr_type(each))
        if is_active(layout, each):
            lines.append("\t\tbootable = true")
        lines.append("\t}")
    return "\n".join(lines + ["}"]) + "\n"


def fw_env(layout):
    """``/etc/fw_env.config``: two copies; empty for boards without U-Boot's environment."""
    environment = layout.environment
    copies = [(file, 0) for file in environment.files]
    copies += [(environment.device, offset) for offset in environment.offsets]
    erase = " 0x%x" % environment.erase if environment.is_mtd else ""
    return "".join("%s 0x%x 0x%x%s\n" % (device, offset, environment.size, erase) for device, offset in copies)


def uboot_config(layout):
    """Where U-Boot finds its environment, as lines for its configuration; empty when that is no raw place. Options that
    changed their names are there with both: each U-Boot knows one."""
    environment = layout.environment
    if not environment.offsets:
        return ""
    place = "FLASH" if environment.is_mtd else "MMC"
    key = "ADDR" if environment.is_mtd else "OFFSET"
    lines = ["# CONFIG_ENV_IS_IN_%s is not set" % other for other in ("EXT4", "FAT", "FLASH", "MMC") if other != place]
    lines += ["# CONFIG_ENV_IS_NOWHERE is not set", "CONFIG_ENV_IS_IN_%s=y" % place, "CONFIG_ENV_SIZE=0x%x" % environment.size,
              "CONFIG_ENV_%s=0x%x" % (key, environment.offsets[0]), "CONFIG_ENV_%s_REDUND=0x%x" % (key, environment.offsets[1])]
    if environment.is_mtd:
        lines.append("CONFIG_ENV_SECT_SIZE=0x%x" % environment.erase)
    else:
        number = layout.boot.loader_disk[1]
        lines += ["CONFIG_SYS_MMC_ENV_DEV=%s" % number, "CONFIG_ENV_MMC_DEVICE_INDEX=%s" % number]
    return "\n".join(lines) + "\n"


def uboot_board(layout):
    """The board's values for U-Boot's boot script (``rota-board.conf``)."""
    boot = layout.boot
    start = boot.start if "$" in boot.start else "%s ${kernel_addr_r} ${rota_initrd} ${rota_fdt}" % boot.start
    values = [("INTERFACE", boot.loader_disk[0]), ("DEVICE", boot.loader_disk[1]),
              ("PART_A", layout.of("slot_A").number), ("PART_B", layout.of("slot_B").number),
              ("ROOT_A", layout.root("A")), ("ROOT_B", layout.root("B")), ("ARGS", boot.args),
              ("KERNEL", boot.kernel), ("DTB", boot.dtb), ("INITRD", boot.initrd), ("START", start), ("PREPARE", boot.prepare)]
    return "".join("%s=%s\n" % pair for pair in values)


def grub_defines(layout):
    """The board's values for GRUB's boot script (``rota-grub-defines.cfg``)."""
    boot = layout.boot
    lines = ["set rota_part_a=%d" % layout.of("slot_A").number, "set rota_part_b=%d" % layout.of("slot_B").number,
             "set rota_table=%s" % {"gpt": "gpt", "mbr": "msdos"}[layout.table],
             "set rota_root_a=%s" % layout.root("A"), "set rota_root_b=%s" % layout.root("B"), "set rota_root_base=",
             "set rota_kernel=%s" % boot.kernel, "set rota_initrd=%s" % boot.initrd, 'set rota_args="%s"' % boot.args]
    name, _, speed = boot.console.partition(",")
    if name.startswith("ttyS"):
        lines += ["serial --unit=%s --speed=%s" % (name[4:], speed or 115200), "terminal_input serial", "terminal_output serial"]
    return "\n".join(lines) + "\n"


def cmdline(layout, slot):
    """``cmdline.txt`` of a Raspberry Pi's boot partition; the client keeps root and slot right when it writes one."""
    return "root=%s %s rota.slot=%s\n" % (layout.root(slot), layout.boot.args, slot)


def autoboot(layout):
    """``autoboot.txt`` of a Raspberry Pi with tryboot: boot partition A, and B when it is tried. It is one sector, filled up
    with a comment, so that the client can write it in place (client/src/boot/tryboot)."""
    text = "[all]\ntryboot_a_b=1\nboot_partition=%d\n[tryboot]\nboot_partition=%d\n" % (
        layout.of("boot_A").number, layout.of("boot_B").number)
    return text.ljust(layouts.SECTOR - 1, "#") + "\n"


def client(layout):
    """What ``rota.toml`` says of slots and boot loader."""
    lines = ["[slots]"]
    lines += ['%s = "%s"' % (key, layout.node(layout.of(use))) for key, use in (("a", "slot_A"), ("b", "slot_B"))]
    lines += ["", "[boot]", 'backend = "%s"' % layout.boot.backend]
    records = layout.environment.folder
    if layout.boot.backend == "tryboot":
        records = layout.node(layout.of("config"))
    if records:
        lines.append('env_dir = "%s"' % records)
    return "\n".join(lines) + "\n"


def fstab(layout):
    """The lines of ``/etc/fstab`` for partitions that are mounted: boot partitions read-only would hide the
    environment from the client, so they are mounted as they are; a broken one must not stop the boot."""
    lines = []
    for each in layout.partitions:
        if each.mount:
            fsck = 2 if each.filesystem == "ext4" else 0
            lines.append("%s %s %s defaults,noatime,nofail 0 %d" % (layout.node(each), each.mount, each.filesystem, fsck))
    return "".join(line + "\n" for line in lines)


def facts(layout):
    """Everything, for programs: JSON with bytes."""
    environment = layout.environment
    parts = [{
        "number": each.number, "name": each.name, "use": each.use, "filesystem": each.filesystem, "mount": each.mount,
        "offset": each.offset, "size": each.size, "grows": each.grows, "node": layout.node(each),
        "image": image_name(each), "uuid": gpt_uuid(layout, each.name) if layout.table == "gpt" else None,
        "type": gpt_type(layout, each) if layout.table == "gpt" else mbr_type(each),
    } for each in layout.partitions]
    return json.dumps({
        "board": layout.board, "backend": layout.boot.backend, "device": layout.device, "table": layout.table,
        "align": layout.align, "disk_size": layout.size, "image_size": layout.image_size,
        "slot_size": layout.slot_size, "kernel": layout.boot.kernel, "args": layout.boot.args, "partitions": parts,
        "environment": {"folder": environment.folder, "device": environment.device, "files": environment.files,
                        "offsets": environment.offsets, "size": environment.size, "erase": environment.erase},
    }, indent=2) + "\n"


def show(layout):
    """The table for people, with the sum."""
    rows = ["%s: %s on %s, %s" % (layout.board, layout.table, layout.device, layout.boot.backend)]
    for each in layout.partitions:
        grows = " and more" if each.grows and each.use == "data" else ""
        rows.append("  %2d  %-10s %-7s %-5s at %10s  %s%s" % (
            each.number, each.name, each.use, each.filesystem, layouts.human(each.offset), layouts.human(each.size), grows))
    return "\n".join(rows) + "\n" + layouts.arithmetic(layout) + "\n"
