# SPDX-License-Identifier: MIT
"""A board's disk, read from its ``layout.toml``: what is written there, checked, and where everything comes to lie.

Sizes are bytes. Whatever does not fit is refused with the arithmetic.
"""

import difflib
import os
import re

from . import toml

SECTOR = 512
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
BACKENDS = ("grub", "uboot", "tryboot")
USES = ("config", "boot", "boot_A", "boot_B", "slot_A", "slot_B", "data", "other")
FILESYSTEMS = ("vfat", "ext4")

# Sectors that the partition table takes at the start and at the end of the disk.
TABLES = {"gpt": (34, 33), "mbr": (1, 0)}

KEYS = {
    "": ("disk", "partition", "environment", "boot"),
    "disk": ("device", "table", "size", "align", "start"),
    "boot": ("backend", "console", "args", "kernel", "initrd", "dtb", "loader_disk", "prepare", "start"),
    "partition": ("name", "use", "filesystem", "size", "at_least", "mount"),
    "environment": ("folder", "device", "files", "offsets", "size", "erase"),
}


class LayoutError(Exception):
    """A layout that cannot be used: names the file, the line, what was found and what to do."""


class Partition:
    """One partition. ``grows``: ``size`` was given as ``at_least``."""

    def __init__(self, **fields):
        self.__dict__.update(fields)

    @property
    def end(self):
        return self.offset + self.size


class Environment:
    """Where the boot loader keeps its records: a ``folder`` (GRUB), ``files``, or ``offsets`` on a ``device`` (U-Boot)."""

    def __init__(self, **fields):
        self.__dict__.update(fields)

    @property
    def is_mtd(self):
        return self.device is not None and self.device.startswith("/dev/mtd")


class Boot:
    """What the boot loader does: start ``kernel`` (a file of the slot) with ``args``, console included. For U-Boot also:
    ``loader_disk`` (its name of the disk, "mmc 0"), ``prepare`` (a command that finds it) and ``start`` ("booti")."""

    def __init__(self, **fields):
        self.__dict__.update(fields)


class Layout:
    """A whole disk. ``partitions`` are in the order of the table, numbered and placed."""

    def __init__(self, **fields):
        self.__dict__.update(fields)

    def of(self, use):
        """The partition with this use, or None."""
        return next((each for each in self.partitions if each.use == use), None)

    def node(self, partition):
        """The device node of a partition in the running system."""
        between = "p" if self.device[-1].isdigit() else ""
        return "%s%s%d" % (self.device, between, partition.number)

    def root(self, slot):
        """What the kernel gets as ``root=`` for slot "A" or "B"."""
        partition = self.of("slot_" + slot)
        return "PARTLABEL=%s" % partition.name if self.table == "gpt" else self.node(partition)

    @property
    def slot_size(self):
        return self.of("slot_A").size

    @property
    def image_size(self):
        """Bytes of the disk image: to the end of the last partition, and the second copy of a GPT."""
        return round_up(self.partitions[-1].end + TABLES[self.table][1] * SECTOR, self.align)


def round_up(value, unit):
    return -(-value // unit) * unit


def human(size):
    """Bytes for people, always in MiB when there is one, so that sums can be followed."""
    if size < UNITS["MiB"]:
        return "%d KiB" % (size // 1024) if size % 1024 == 0 else "%d bytes" % size
    return ("%d MiB" if size % UNITS["MiB"] == 0 else "%.1f MiB") % (size / UNITS["MiB"])


def load(path):
    """Reads and places a layout file; the board is called as the file is."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise LayoutError("cannot read the layout %s: %s" % (path, error.strerror)) from None
    return parse(text, os.path.basename(path))


def parse(text, name):
    """Reads and places a layout; ``name`` is the file's name in errors."""
    try:
        top = toml.parse(text, name)
    except toml.TomlError as error:
        raise LayoutError(str(error)) from None
    return Reader(name).layout(top)


class Reader:
    """Turns tables into a layout and knows the file's name for every complaint."""

    def __init__(self, name):
        self.name = name

    def refuse(self, line, sentence):
        raise LayoutError("%s:%d: %s" % (self.name, line, sentence))

    def layout(self, top):
        self.known(top, "")
        disk, boot = self.table(top, "disk"), self.table(top, "boot")
        align = self.size(disk, "align", 2**20)
        if align % 2**10:
            self.refuse(disk.lines["align"], "align is %s; make it a multiple of 1KiB" % human(align))
        layout = Layout(
            board=self.name[:-5] if self.name.endswith(".toml") else self.name,
            device=self.text(disk, "device"),
            table=self.choice(disk, "table", tuple(TABLES)),
            size=self.size(disk, "size"),
            align=align,
            start=self.size(disk, "start", align),
            boot=self.boot(boot),
            partitions=[self.partition(each, align) for each in self.tables(top, "partition")],
            environment=None,
        )
        if layout.start % align or layout.start < TABLES[layout.table][0] * SECTOR:
            self.refuse(disk.lines.get("start", disk.line), "the first partition cannot start at %s; "
                        "start must be a multiple of align (%s)" % (human(layout.start), human(align)))
        self.check_uses(layout, disk)
        number(layout)
        self.place(layout)
        layout.environment = self.environment(top, layout, boot)
        return layout

    def boot(self, table):
        console = self.text(table, "console", "")
        args = ["ro rootwait", console and "console=" + console, "panic=5 init=/sbin/init", self.text(table, "args", "")]
        uboot = self.choice(table, "backend", BACKENDS) == "uboot"
        boot = Boot(
            backend=table["backend"], console=console, args=" ".join(filter(None, args)),
            kernel=self.text(table, "kernel", *([""] if table["backend"] == "tryboot" else [])), initrd=self.text(table, "initrd", ""), dtb=self.text(table, "dtb", ""),
            loader_disk=self.text(table, "loader_disk", *([] if uboot else [""])).split(),
            start=self.text(table, "start", *([] if uboot else [""])), prepare=self.text(table, "prepare", ""),
        )
        if uboot and len(boot.loader_disk) != 2:
            self.refuse(table.lines["loader_disk"], 'loader_disk is U-Boot\'s interface and number, for example "mmc 0"')
        return boot

    def partition(self, table, align):
        self.known(table, "partition")
        if ("size" in table) == ("at_least" in table):
            self.refuse(table.line, "a partition has either size or at_least")
        grows = "at_least" in table
        size = self.size(table, "at_least" if grows else "size")
        if size == 0 or size % align:
            self.refuse(table.lines["at_least" if grows else "size"], "%s is not a multiple of align (%s); write %s" % (
                human(size), human(align), human(max(align, round_up(size, align)))))
        part = Partition(
            name=self.text(table, "name"),
            use=self.choice(table, "use", USES),
            filesystem=self.choice(table, "filesystem", FILESYSTEMS, "ext4"),
            mount=self.text(table, "mount", None),
            size=size, least=size, grows=grows, line=table.line, number=0, offset=0, logical=False,
        )
        if not re.match(r"[A-Za-z0-9][A-Za-z0-9_-]{0,35}\Z", part.name):
            self.refuse(table.lines["name"], 'the name "%s" is not up to 36 letters, digits, _ and -' % part.name)
        if grows and part.use not in ("slot_A", "slot_B", "data"):
            self.refuse(table.lines["at_least"], "only the slots and the data partition can grow; write size")
        return part

    def check_uses(self, layout, disk):
        parts = layout.partitions
        for each in parts:
            for other in parts:
                if other is each:
                    break
                if each.name == other.name:
                    self.refuse(each.line, 'two partitions are called "%s"' % each.name)
                if each.use == other.use and each.use != "other":
                    self.refuse(each.line, 'two partitions are of use "%s": %s and %s' % (each.use, other.name, each.name))
        needed = ["slot_A", "slot_B", "data"]
        needed += ["config", "boot_A", "boot_B"] if layout.boot.backend == "tryboot" else []
        for use in needed:
            if layout.of(use) is None:
                self.refuse(disk.line, 'no partition is of use "%s", which %s needs' % (
                    use, "tryboot" if use not in needed[:3] else "every board"))
        for left, right in (("slot_A", "slot_B"), ("boot_A", "boot_B")):
            a, b = layout.of(left), layout.of(right)
            if a and b and (a.size, a.grows, a.filesystem) != (b.size, b.grows, b.filesystem):
                self.refuse(b.line, "%s is %s and %s is %s; the two must be alike" % (
                    a.name, human(a.size), b.name, human(b.size)))
        data = layout.of("data")
        if data.grows and parts[-1] is not data:
            self.refuse(data.line, "the data partition grows on the device (at_least), so it must be the last one")

    def place(self, layout):
        """Gives every partition its offset, and the slots that grow their share of what is left."""
        end = (layout.size - TABLES[layout.table][1] * SECTOR) // layout.align * layout.align
        left = end - self.lay(layout)
        if left < 0:
            raise LayoutError(too_small(self.name, layout, -left))
        growing = [each for each in layout.partitions if each.grows and each.use != "data"]
        for each in growing:
            each.size += left // len(growing) // layout.align * layout.align
        self.lay(layout)

    def lay(self, layout):
        """Puts the partitions in a row and returns where the last one ends."""
        at = layout.start
        for each in layout.partitions:
            # Before each logical partition lies the record that leads to it.
            at += layout.align if each.logical else 0
            each.offset = at
            at += each.size
        return at

    def environment(self, top, layout, boot):
        if "environment" not in top:
            if layout.boot.backend != "tryboot":
                self.refuse(boot.line, "%s keeps its records in an [environment], and there is none" % layout.boot.backend)
            return Environment(folder=None, device=None, files=[], offsets=[], size=0, erase=0)
        table = self.table(top, "environment")
        wanted = {"grub": ("folder",), "uboot": ("files", "offsets"), "tryboot": ()}[layout.boot.backend]
        given = [key for key in ("folder", "files", "offsets") if key in table]
        if len(given) != 1 or given[0] not in wanted:
            self.refuse(table.line, "the environment of %s is told by %s" % (layout.boot.backend, " or ".join(wanted) or "nothing"))
        uboot = layout.boot.backend == "uboot"
        environment = Environment(
            folder=self.text(table, "folder", None),
            device=self.text(table, "device", layout.device) if "offsets" in table else None,
            files=self.list(table, "files", str),
            offsets=[self.bytes(table, "offsets", each) for each in self.list(table, "offsets", (int, str))],
            size=self.size(table, "size") if uboot else 0,
            erase=self.size(table, "erase", 0),
        )
        if uboot and len(environment.files or environment.offsets) != 2:
            self.refuse(table.line, "there must be two copies of the environment, so that a cut leaves one")
        if environment.device == layout.device and layout.boot.loader_disk[0] != "mmc":
            self.refuse(table.lines["offsets"], "U-Boot keeps a raw environment on mmc only, and its disk is %s; "
                        "use files, or flash" % " ".join(layout.boot.loader_disk))
        self.check_environment(table, environment, layout)
        return environment

    def check_environment(self, table, environment, layout):
        unit = environment.erase or SECTOR
        if environment.is_mtd and not environment.erase:
            self.refuse(table.line, "%s is flash: say the size of its erase blocks with erase" % environment.device)
        taken = [("the partition table", 0, TABLES[layout.table][0] * SECTOR)]
        taken += [(each.name, each.offset, each.end) for each in layout.partitions]
        if environment.device != layout.device:
            taken = []
        for offset in environment.offsets:
            end = offset + environment.size
            if offset % unit or environment.size % unit:
                self.refuse(table.lines["offsets"], "a copy of %s at %s does not fill blocks of %s" % (
                    human(environment.size), human(offset), human(unit)))
            for name, start, stop in taken:
                if offset < stop and start < end:
                    self.refuse(table.lines["offsets"], "the copy from %s to %s lies on %s (%s to %s)" % (
                        human(offset), human(end), name, human(start), human(stop)))
            taken.append(("the other copy", offset, end))

    # What tables hold, each with its complaint.

    def known(self, table, kind):
        for key in table:
            if key not in KEYS[kind]:
                near = difflib.get_close_matches(key, KEYS[kind], 1)
                self.refuse(table.lines[key], 'unknown key "%s"%s; known are %s' % (
                    key, ', did you mean "%s"?' % near[0] if near else "", ", ".join(KEYS[kind])))

    def table(self, top, key):
        value = top.get(key)
        if not isinstance(value, toml.Table):
            self.refuse(top.lines.get(key, 1), "a layout has one [%s]" % key)
        self.known(value, key)
        return value

    def tables(self, top, key):
        value = top.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(each, toml.Table) for each in value):
            self.refuse(top.lines.get(key, 1), "a layout has one [[%s]] for each of them" % key)
        return value

    def text(self, table, key, *default):
        return self.typed(table, key, str, "a string", *default)

    def typed(self, table, key, kind, words, *default):
        if key not in table:
            if default:
                return default[0]
            self.refuse(table.line, "%s is missing here" % key)
        value = table[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            self.refuse(table.lines[key], "%s is %r; expected %s" % (key, value, words))
        return value

    def list(self, table, key, kind):
        values = self.typed(table, key, list, "a list", [])
        if not all(isinstance(each, kind) and not isinstance(each, bool) for each in values):
            self.refuse(table.lines[key], "%s holds something else than expected: %r" % (key, values))
        return values

    def choice(self, table, key, words, *default):
        value = self.text(table, key, *default)
        if value not in words:
            self.refuse(table.lines[key], '%s is "%s"; expected one of %s' % (key, value, ", ".join(words)))
        return value

    def size(self, table, key, *default):
        value = self.typed(table, key, (int, str), "a size", *default)
        return self.bytes(table, key, value) if key in table else value

    def bytes(self, table, key, value):
        if isinstance(value, int):
            return value
        found = re.match(r"(\d+)\s?(%s)\Z" % "|".join(UNITS), value)
        if not found:
            self.refuse(table.lines[key], '%s is "%s"; expected bytes or for example "64MiB" (%s)' % (
                key, value, ", ".join(UNITS)))
        return int(found.group(1)) * UNITS[found.group(2)]


def number(layout):
    """Numbers the partitions as Linux does: with more than four on an MBR, all after the third are logical."""
    extended = layout.table == "mbr" and len(layout.partitions) > 4
    for index, each in enumerate(layout.partitions):
        each.logical = extended and index >= 3
        each.number = index + (2 if each.logical else 1)


def arithmetic(layout):
    """The sum, one line a part."""
    rows = [("before the first partition", layout.start)]
    for each in layout.partitions:
        if each.logical:
            rows.append(("record before %s" % each.name, layout.align))
        rows.append((each.name, each.size))
    if TABLES[layout.table][1]:
        rows.append(("second copy of the table", layout.align))
    rows.append(("needed", sum(size for _, size in rows)))
    rows.append(("the disk has", layout.size))
    return "\n".join("  %12s  %s" % (human(size), name) for name, size in rows)


def too_small(name, layout, missing):
    slot = (layout.slot_size - round_up(missing, 2 * layout.align) // 2) // layout.align * layout.align
    smaller = " or make each slot at most %s" % human(slot) if slot > 0 else ""
    return "%s does not fit: %s more than the disk has\n%s\nnext: choose a disk of at least %s%s" % (
        name, human(missing), arithmetic(layout), human(round_up(layout.size + missing, layout.align)), smaller)


def check_rootfs(layout, size):
    """Refuses a root file system that is larger than a slot, and says by how much and what would fit."""
    if size <= layout.slot_size:
        return
    need = round_up(size, layout.align)
    others = sum(each.size for each in layout.partitions if each.use not in ("slot_A", "slot_B"))
    rest = layout.image_size - layout.start - others - 2 * layout.slot_size
    total = layout.start + others + 2 * need + rest
    fits = "set both slots to %s, which makes %s of the disk's %s" % (human(need), human(total), human(layout.size))
    if total > layout.size:
        fits = "slots of %s would need a disk of %s, and this one has %s; make the root file system smaller" % (
            human(need), human(total), human(layout.size))
    raise LayoutError("the root file system does not fit into a slot of %s:\n  %12s  root file system\n  %12s  slot\n"
                      "  %12s  too much\nnext: %s" % (
                          layout.board, human(size), human(layout.slot_size), human(size - layout.slot_size), fits))
