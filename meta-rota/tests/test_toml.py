# SPDX-License-Identifier: MIT
import glob
import os
import unittest

from rota import toml

try:
    import tomllib
except ImportError:
    tomllib = None

LAYOUTS = os.path.join(os.path.dirname(__file__), "..", "files", "layouts", "*.toml")


class Toml(unittest.TestCase):
    def refuses(self, text, *words):
        with self.assertRaises(toml.TomlError) as caught:
            toml.parse(text, "x.toml")
        for word in words:
            self.assertIn(word, str(caught.exception))

    def test_reads_what_a_layout_needs(self):
        text = 'a = "x # \\"y\\"" # comment\n[t]\nn = 0x10\nyes = true\nl = ["a", 2, "c,d"]\n[[p]]\nx = 1\n[[p]]\nx = 2\n'
        read = toml.parse(text, "x.toml")
        self.assertEqual(read, {"a": 'x # "y"', "t": {"n": 16, "yes": True, "l": ["a", 2, "c,d"]}, "p": [{"x": 1}, {"x": 2}]})
        self.assertEqual((read["t"].line, read["t"].lines["yes"], read["p"][1].line), (2, 4, 8))
        if tomllib:
            self.assertEqual(read, tomllib.loads(text))

    def test_our_layouts_mean_the_same_to_any_toml_reader(self):
        paths = glob.glob(LAYOUTS)
        self.assertTrue(paths)
        for path in paths if tomllib else []:
            with open(path, encoding="utf-8") as file:
                text = file.read()
            self.assertEqual(toml.parse(text, path), tomllib.loads(text))

    def test_refuses_the_rest_and_says_where(self):
        self.refuses("\na 1\n", "x.toml:2", "expected [table] or key = value")
        self.refuses("a = 1\na = 2\n", "x.toml:2", "there twice", "line 1")
        self.refuses("[t]\n[t]\n", "x.toml:2", "there twice")
        self.refuses("[t\n", "x.toml:1")
        self.refuses("[t]\n[[t]]\n", "x.toml:2", "something else")
        for value in ("'x'", '"x', "1.5", "1_000", "010", "-1", "{a = 1}", "[1", "[1 2]", "[,]", "", '"\\n"', '"""x"""'):
            self.refuses("a = %s\n" % value, "x.toml:1")


if __name__ == "__main__":
    unittest.main()
