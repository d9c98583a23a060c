# SPDX-License-Identifier: MIT
"""Holds the kas files of a checkout against kas's own schema, and what they must say besides:

    check_kas.py CHECKOUT

Every include exists, every repository that is cloned has a branch and is pinned to a commit in both series, layers named
in this checkout exist, and every machine has a layout.
"""

import copy
import glob
import os
import re
import sys

import jsonschema
import yaml
from kas.configschema import CONFIGSCHEMA

SERIES = ("scarthgap", "wrynose")


def merge(into, other):
    """As kas does: tables are merged, the rest is replaced."""
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value
    return into


class Checker:
    def __init__(self, top):
        self.top = top
        self.problems = []
        self.files = {}
        for path in sorted(glob.glob(os.path.join(top, "kas", "**", "*.yml"), recursive=True)):
            name = os.path.relpath(path, top)
            try:
                with open(path, encoding="utf-8") as file:
                    self.files[name] = yaml.safe_load(file)
            except yaml.YAMLError as error:
                self.problem(name, str(error))

    def problem(self, name, what):
        self.problems.append("%s: %s" % (name, what))

    def whole(self, name):
        """A file with its includes before it."""
        merged = {}
        for include in self.files[name]["header"].get("includes", []):
            merge(merged, self.whole(include))
        return merge(merged, copy.deepcopy(self.files[name]))

    def run(self):
        validator = jsonschema.Draft7Validator(CONFIGSCHEMA)
        for name, content in self.files.items():
            for error in validator.iter_errors(content):
                self.problem(name, "%s: %s" % ("/".join(map(str, error.path)), error.message))
            for include in content.get("header", {}).get("includes", []):
                if include not in self.files:
                    self.problem(name, "includes %s, which is not there" % include)
        if self.problems:
            return
        machines = [name for name in self.files if re.fullmatch(r"kas/[^/]+\.yml", name)]
        for name in machines:
            self.check_machine(name)
        for series in SERIES:
            if "kas/include/%s.yml" % series not in self.files:
                self.problem("kas/include", "there is no file for %s" % series)
            for name in machines:
                self.check_pins(name, series)

    def check_machine(self, name):
        whole = self.whole(name)
        machine = whole.get("machine")
        if name != "kas/%s.yml" % machine:
            self.problem(name, "is for the machine %s" % machine)
        if not os.path.exists(os.path.join(self.top, "meta-rota", "files", "layouts", "%s.toml" % machine)):
            self.problem(name, "there is no layout for %s" % machine)
        for layer in whole["repos"]["rota"]["layers"]:
            if not os.path.exists(os.path.join(self.top, layer, "conf", "layer.conf")):
                self.problem(name, "there is no layer %s in this checkout" % layer)

    def check_pins(self, name, series):
        # The pins of the series' own file: those of another series would be merged under them.
        pins = self.files["kas/include/%s.yml" % series].get("overrides", {}).get("repos", {})
        for repo, settings in self.whole(name)["repos"].items():
            if not settings.get("url"):
                continue
            pin = pins.get(repo, {})
            if not re.fullmatch("[0-9a-f]{40}", pin.get("commit", settings.get("commit", ""))):
                self.problem(name, "%s is not pinned to a commit for %s" % (repo, series))
            if not settings.get("branch"):
                self.problem(name, "%s has no branch for %s" % (repo, series))


checker = Checker(os.path.abspath(sys.argv[1]))
checker.run()
for each in checker.problems:
    print(each)
print("kas: %d files, %d problems" % (len(checker.files), len(checker.problems)))
sys.exit(bool(checker.problems))
