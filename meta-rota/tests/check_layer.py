# SPDX-License-Identifier: MIT
"""Reads the whole layer with bitbake's own parser, in process and without other layers, and prints what is wrong.

    check_layer.py LAYER SERIES MACHINE [COLLECTION…]

LAYER is this layer or a copy of it; COLLECTION names other layers (raspberrypi) that are pretended to be there, so that
their dynamic-layers/ are read. Needs the module bb, which PyPI's bitbake-setup carries.
"""

import glob
import hashlib
import logging
import os
import re
import sys
import tempfile
import types

STUB = os.path.join(os.path.dirname(os.path.realpath(__file__)), "stub")
MIT = "0835ade698e0bcf8506ecda2f7b4f302"
# What may be skipped, and how the reason begins.
SKIPS = {"rota-grub": "the layout of", "rota": "rota_git needs ROTA_GIT_URI", "rota-native": "rota_git needs ROTA_GIT_URI"}

problems = []


def problem(where, what):
    problems.append("%s: %s" % (where, what))


class Collector(logging.Handler):
    """bitbake's warnings are problems, too."""

    def emit(self, record):
        problem("bitbake", record.getMessage().strip())


def load_bitbake():
    for name in ("hashserv", "hashserv.client", "prserv", "prserv.serv"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["hashserv"].client = sys.modules["hashserv.client"]
    logger = logging.getLogger("BitBake")
    logger.addHandler(Collector(logging.WARNING))
    logger.propagate = False
    import bb.cookerdata, bb.parse, bb.data, bb.fetch2, bb.codeparser  # noqa: E401 (only now)
    return bb


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def configure(bb, layer, series, machine, collections, build):
    """A build folder with the stub, pretended layers and the layer; returns the builder that parses recipes."""
    others = []
    for name in collections:
        other = os.path.join(build, "meta-" + name)
        write(other + "/conf/layer.conf", 'BBFILE_COLLECTIONS += "%s"\nBBFILE_PATTERN_%s = "^${LAYERDIR}/"\n'
              'LAYERSERIES_COMPAT_%s = "%s"\nBBFILES += "${LAYERDIR}/recipes/*.bb"\n' % (name, name, name, series))
        for append in glob.glob(os.path.join(layer, "dynamic-layers", name, "*", "*", "*.bbappend")):
            stem = os.path.basename(append)[:-len(".bbappend")].replace("_%", "_1.0").replace("%", "_1.0")
            write("%s/recipes/%s.bb" % (other, stem), 'LICENSE = "MIT"\nLIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=%s"\n' % MIT)
        others.append(other)
    write(build + "/conf/bblayers.conf", 'STUB_SERIES = "%s"\nBBPATH = "${TOPDIR}"\nBBFILES ?= ""\nBBLAYERS = "%s"\n' % (
        series, " ".join([STUB] + others + [layer])))
    unpack = 'UNPACKDIR = "${WORKDIR}/sources"\n' if series != "scarthgap" else ""
    write(build + "/conf/local.conf", 'MACHINE = "%s"\nDISTRO_FEATURES:append = " rota"\nBB_NO_NETWORK = "1"\n%s' % (machine, unpack))
    os.chdir(build)
    os.environ["BBPATH"] = build
    settings = bb.cookerdata.CookerConfiguration()
    settings.env = dict(os.environ)
    settings.prefile = settings.postfile = []
    builder = bb.cookerdata.CookerDataBuilder(settings, True)
    builder.parseBaseConfiguration()
    return builder


def check_recipe(bb, data, series, layer):
    """One variant of one recipe: code, sources, licences, units, kickstart file."""
    where = "%s %s" % (data.getVar("PN"), data.getVar("PV"))
    skipped = data.getVar("__SKIPPED")
    if skipped:
        if not skipped.startswith(SKIPS.get(data.getVar("PN"), "\0")):
            problem(where, "skipped: " + skipped)
        return
    bb.data.generate_dependencies(data, set())
    check_sources(bb, data, where)
    check_licence(data, where)
    if series != "scarthgap" and not data.getVar("FILE").startswith(STUB) and data.getVar("SRC_URI").strip() and not data.getVar("S").startswith(data.getVar("UNPACKDIR")):
        problem(where, "S is %s; it must lie below UNPACKDIR" % data.getVar("S", False))
    check_files(data, where)


def check_sources(bb, data, where):
    fetch = bb.fetch2.Fetch(data.getVar("SRC_URI").split(), data)
    for url in fetch.urls:
        source = fetch.ud[url]
        if source.type in ("crate", "wget") and not source.sha256_expected:
            problem(where, "no checksum for %s" % url)
        if source.type == "git" and not re.fullmatch("[0-9a-f]{40}", getattr(source, "revision", None) or source.revisions[source.names[0]]):
            problem(where, "%s is not pinned to a commit" % url)
        if source.type == "file" and not os.path.exists(source.method.localpath(source, data)):
            problem(where, "there is no %s" % url)


def check_licence(data, where):
    for entry in (data.getVar("LIC_FILES_CHKSUM") or "").split():
        path, _, md5 = entry[len("file://"):].partition(";md5=")
        if path.startswith(data.getVar("COMMON_LICENSE_DIR")):
            right = MIT
        else:
            path = os.path.join(data.getVar("ROTA_CHECKOUT") or data.getVar("FILE_DIRNAME"), os.path.basename(path))
            if not os.path.exists(path):
                problem(where, "there is no licence file %s" % path)
                continue
            with open(path, "rb") as file:
                right = hashlib.md5(file.read()).hexdigest()
        if md5 != right:
            problem(where, "the licence sum of %s is %s, not %s" % (path, right, md5))
    if not data.getVar("LIC_FILES_CHKSUM") and not data.getVar("FILE").endswith("packagegroup-rota.bb"):
        problem(where, "no LIC_FILES_CHKSUM")


def check_files(data, where):
    """What is named and must be there: units, start scripts, the kickstart file, the client's version."""
    files = set()
    for path in (data.getVar("FILESPATH") or "").split(":"):
        for _, _, names in os.walk(path if path.endswith("files") else os.path.join(path, "client", "dist")):
            files.update(names)
    for package in data.getVar("PACKAGES").split():
        for unit in (data.getVar("SYSTEMD_SERVICE:" + package) or "").split():
            if unit not in files:
                problem(where, "there is no unit %s" % unit)
        script = data.getVar("INITSCRIPT_NAME:" + package) or data.getVar("INITSCRIPT_NAME")
        if script and script + ".init" not in files:
            problem(where, "there is no start script %s.init" % script)
    if data.getVar("WKS_FILES") and not os.path.exists(data.getVar("WKS_FULL_PATH")):
        problem(where, "there is no kickstart file %s" % data.getVar("WKS_FILES"))
    if data.getVar("ROTA_CHECKOUT") and data.getVar("ROTA_SOURCE") == "beside":
        with open(os.path.join(data.getVar("ROTA_CHECKOUT"), "client", "Cargo.toml"), encoding="utf-8") as file:
            version = re.search(r'^version = "(.*)"', file.read(), re.M).group(1)
        if version != data.getVar("PV"):
            problem(where, "the client is version %s" % version)
        check_targets(data, where)
        if os.path.exists(os.path.join(data.getVar("ROTA_CHECKOUT"), "client", "target")):
            problem(where, "client/target is there: build outputs would be copied along; set CARGO_TARGET_DIR")


def check_targets(data, where):
    """Every test, benchmark and program that a manifest names is among the sources: cargo reads no manifest without."""
    taken = [entry[len("file://"):] for entry in data.getVar("SRC_URI").split() if entry.startswith("file://client")]
    for manifest in [entry for entry in taken if entry.endswith("Cargo.toml")]:
        with open(os.path.join(data.getVar("ROTA_CHECKOUT"), manifest), encoding="utf-8") as file:
            text = file.read()
        for kind, folder in (("test", "tests"), ("bench", "benches"), ("bin", "src/bin"), ("example", "examples")):
            for name, path in re.findall(r'^\[\[%s\]\]\nname = "([^"]*)"\n(?:path = "([^"]*)")?' % kind, text, re.M):
                path = os.path.join(os.path.dirname(manifest), path or "%s/%s.rs" % (folder, name))
                if not any(path == entry or path.startswith(entry + "/") for entry in taken):
                    problem(where, "%s names %s, which is not among the sources" % (manifest, path))


def main():
    layer, series, machine = os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3]
    bb = load_bitbake()
    count = 0
    with tempfile.TemporaryDirectory() as build:
        try:
            builder = configure(bb, layer, series, machine, sys.argv[4:], build)
        except (bb.BBHandledException, SystemExit) as error:
            problem("configuration", error)
            builder = None
        recipes, appends = [], []
        for pattern in builder.data.getVar("BBFILES").split() if builder else []:
            for path in sorted(glob.glob(pattern)):
                (appends if path.endswith(".bbappend") else recipes).append(path)
        bases = {recipe: os.path.basename(recipe)[:-3] for recipe in recipes}
        for append in appends:
            stem = re.escape(os.path.basename(append)[:-len(".bbappend")]).replace("%", ".*")
            if not any(re.fullmatch(stem, base) for base in bases.values()):
                problem(append, "appends to no recipe")
        for recipe in recipes:
            mine = [each for each in appends if re.fullmatch(
                re.escape(os.path.basename(each)[:-len(".bbappend")]).replace("%", ".*"), bases[recipe])]
            try:
                variants = builder.parseRecipeVariants(recipe, mine, layername="rota")
                for data in variants.values():
                    count += 1
                    check_recipe(bb, data, series, layer)
            except Exception as error:  # whatever the parser throws is a finding about the recipe
                problem(os.path.relpath(recipe, layer), "%s: %s" % (type(error).__name__, error))
        os.chdir("/")
    for each in problems:
        print("%s %s: %s" % (series, machine, each))
    print("%s %s: %d recipes, %d problems" % (series, machine, count, len(problems)))
    sys.exit(bool(problems))


main()
