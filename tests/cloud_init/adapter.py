"""The cloud-init module as Python: python3 -B adapter.py PATH-OF-THE-MODULE"""

import ast
import importlib.util
import inspect
import os
import sys
import tempfile
import unittest

PATH = sys.argv.pop(1)


def load():
    spec = importlib.util.spec_from_file_location("cc_ofedctl", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Language(unittest.TestCase):
    def setUp(self):
        with open(PATH) as file:
            self.text = file.read()

    def test_it_is_python_3_6(self):
        tree = ast.parse(self.text, feature_version=(3, 6))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        keywords = {keyword.arg for call in calls for keyword in call.keywords}
        self.assertFalse(keywords & {"capture_output", "text"}, "newer than 3.6")
        self.assertTrue(self.text.isascii())

    def test_it_needs_nothing_that_could_be_missing(self):
        nodes = list(ast.walk(ast.parse(self.text)))
        names = [n.name for i in nodes if isinstance(i, ast.Import) for n in i.names]
        names += [i.module for i in nodes if isinstance(i, ast.ImportFrom)]
        self.assertLessEqual(set(names), {"json", "logging", "subprocess"})


class Calls(unittest.TestCase):
    def setUp(self):
        self.module = load()
        self.seen = []
        self.module.run = lambda *given: self.seen.append(given) or (0, "{}")

    def test_each_cloud_init_calls_it_in_its_own_way(self):
        self.module.handle("ofedctl", {"ofedctl": {"a": 1}}, None, None, ["-x"])
        self.module.handle(name="ofedctl", cfg={}, cloud=None, args=["-x"])
        self.module.handle("ofedctl", {}, None, None, None)
        self.assertEqual(self.seen, [({"a": 1}, ["-x"]), (None, ["-x"]), (None, [])])

    def test_it_is_not_taken_for_the_old_kind(self):
        # 23.2 and later count the parameters, and log a deprecation for five.
        self.assertLess(len(inspect.signature(self.module.handle).parameters), 5)

    def test_what_cloud_init_checks_at_import_is_there(self):
        meta = self.module.meta
        self.assertEqual((meta["frequency"], meta["distros"]), ("always", ["all"]))
        self.assertEqual((self.module.frequency, self.module.distros), ("always", []))
        self.assertFalse(hasattr(self.module, "schema"))


class Endings(unittest.TestCase):
    def setUp(self):
        self.module = load()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.program = os.path.join(folder.name, "ofedctl")
        self.module.PROGRAMS = ("/nowhere", self.program)

    def error(self, script, mode=0o755):
        with open(self.program, "w") as file:
            file.write("#!%s\n%s" % (sys.executable, script))
        os.chmod(self.program, mode)
        with self.assertRaises(self.module.OfedctlError) as raised:
            self.module.handle("ofedctl", {}, None, None, [])
        return str(raised.exception)

    def said(self, code, message):
        result = '{"reason": "cache-missing", "message": "%s"}' % message
        return self.error("print(%r); raise SystemExit(%d)" % (result, code))

    def test_a_failure_is_one_sentence_with_code_and_reason(self):
        for code in 1, 10, 11, 12, 13, 14:
            wanted = "ofedctl ended with %d (cache-missing): no bundle; see /var/log/azure/ib-vmext-status"
            self.assertEqual(self.said(code, "no\\nbundle"), wanted % code)

    def test_the_sentence_is_short_and_ascii(self):
        self.assertLess(len(self.said(14, "x" * 9999)), 300)
        self.assertIn("caf? au lait", self.said(14, "caf\\u00e9 au lait"))

    def test_a_program_that_says_nothing_has_an_unknown_reason(self):
        for printed in "", "[]", "{}", "null", "{":
            self.assertIn("14 (unknown)", self.error("print(%r); raise SystemExit(14)" % printed))

    def test_a_killed_program_is_a_failure(self):
        self.assertIn("ended with -9 ", self.error("import os; os.kill(os.getpid(), 9)"))

    def test_a_program_that_is_missing_or_cannot_run_is_a_failure(self):
        self.assertIn("cannot be run", self.error("", 0o644))
        os.remove(self.program)
        with self.assertRaisesRegex(self.module.OfedctlError, "there is no /nowhere"):
            self.module.handle("ofedctl", {}, None, None, [])

    def test_success_is_silent_and_settings_arrive_whole(self):
        with open(self.program, "w") as file:
            file.write("#!/bin/sh\ncat /dev/stdin > $0.got; echo $@ >> $0.got\n")
        os.chmod(self.program, 0o755)
        with self.assertLogs("cc_ofedctl", "INFO") as logged:
            self.module.handle("ofedctl", {"ofedctl": {"deadline": 5}}, None, None, ["--set", 7])
        self.assertEqual([record.levelname for record in logged.records], ["INFO"])
        with open(self.program + ".got") as file:
            wanted = '{"deadline": 5}cloud-init run --json --settings /dev/stdin --set 7\n'
            self.assertEqual(file.read(), wanted)


unittest.main()
