#!/usr/bin/env python3
"""Tests of the end-to-end runner, of its schema validator and of the count of results: each plants a fault and sees it caught."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import count  # noqa: E402
import schema  # noqa: E402


class Runner(unittest.TestCase):
    def outcome(self, text, update=False):
        """Exit code, output and the file afterwards, of a run whose program is /bin/true's folder: plain shell commands."""
        with tempfile.TemporaryDirectory() as name:
            path = pathlib.Path(name) / "x.test"
            path.write_text(text)
            environment = dict(os.environ, **({"UPDATE_GOLDEN": "1"} if update else {}))
            done = subprocess.run([sys.executable, "-B", HERE / "run.py", "--program", "/bin/true", path], env=environment,
                                  capture_output=True, text=True)
            return done.returncode, done.stdout + done.stderr, path.read_text()

    def assert_fails(self, text, with_words):
        code, output, _ = self.outcome(text)
        self.assertEqual(code, 1, output)
        self.assertIn(with_words, output)

    def test_passes_what_is_as_expected(self):
        code, output, _ = self.outcome("file a.txt\n| one\n$ cat a.txt; echo two >&2; exit 3\nexit 3\nout| one\nerr~ tw.\n")
        self.assertEqual(code, 0, output)
        self.assertIn("1 passed, 0 failed", output)

    def test_sees_a_wrong_exit_code(self):
        self.assert_fails("$ echo x >&2; exit 3\nexit 2\n", "exit code 3, expected 2")

    def test_sees_a_different_line(self):
        self.assert_fails("$ echo one\nout| two\n", "+one")

    def test_sees_output_that_nobody_announced(self):
        self.assert_fails("$ echo noise\n", "stdout should be empty")

    def test_sees_a_missing_match_and_a_forbidden_one(self):
        self.assert_fails("$ echo one\nout~ two\n", "has no match")
        self.assert_fails("$ echo one\nout! one\n", "has a match")

    def test_sees_a_hang(self):
        self.assert_fails("$ sleep 30\ntimeout 1\n", "still running")

    def test_sees_death_by_signal(self):
        self.assert_fails("$ kill -SEGV $$\nexit 139\n", "killed by signal 11")

    def test_sees_a_silent_failure(self):
        self.assert_fails("$ exit 2\nexit 2\n", "without a word")

    def test_sees_what_is_not_json(self):
        self.assert_fails("$ echo '{\"a\": NaN}'\njson verify\n", "not one JSON document")

    def test_masks_times(self):
        self.assertEqual(self.outcome("$ echo took 1.25 ms\nout| took <time>\n")[0], 0)

    def test_refuses_a_line_it_does_not_know(self):
        self.assertEqual(self.outcome("$ true\nexpect 3\n")[0], 2)

    def test_skips_without_shared_data(self):
        code, output, _ = self.outcome("$ true\nshared no/such/file\n$ true\n")
        self.assertIn("1 passed, 0 failed, 1 skipped", output)
        self.assertEqual(code, 0)

    def test_update_rewrites_only_what_is_exact(self):
        before = "# why\n$ echo new; echo said >&2; exit 3\nout| old\nerr~ said\n\n$ true\n"
        _, _, after = self.outcome(before, update=True)
        self.assertEqual(after, "# why\n$ echo new; echo said >&2; exit 3\nexit 3\nerr~ said\nout| new\n\n$ true\n")


class Schema(unittest.TestCase):
    def assert_fault(self, value, rules, words):
        self.assertIn(words, " ".join(schema.validate(value, rules)))

    def test_accepts_a_valid_value(self):
        rules = {"type": "object", "required": ["n"], "properties": {"n": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer", "minimum": 1}}}
        self.assertEqual(schema.validate({"n": 1}, rules), [])

    def test_sees_each_kind_of_fault(self):
        self.assert_fault(1, {"type": "string"}, "int where string")
        self.assert_fault(True, {"type": "integer"}, "bool where integer")
        self.assert_fault({}, {"required": ["a"]}, "no 'a'")
        self.assert_fault({"b": 1}, {"additionalProperties": False}, "unknown member 'b'")
        self.assert_fault({"b": 1}, {"additionalProperties": {"type": "string"}}, "$.b")
        self.assert_fault([1, "x"], {"items": {"type": "number"}}, "$[1]")
        self.assert_fault("c", {"enum": ["a", "b"]}, "none of")
        self.assert_fault(True, {"const": 1}, "is not 1")
        self.assert_fault(-1, {"minimum": 0}, "at least 0")
        self.assert_fault([], {"minItems": 1}, "length 0")
        self.assert_fault("x", {"pattern": "^y"}, "does not match")
        self.assert_fault(1, {"anyOf": [{"type": "string"}, {"type": "null"}]}, "alternatives")

    def test_a_keyword_it_does_not_know_is_a_fault(self):
        self.assert_fault(1, {"multipleOf": 2}, "does not know")

    def test_every_schema_of_the_docs_is_one_it_knows(self):
        for path in (HERE.parents[1] / "docs" / "schemas").glob("*.schema.json"):
            faults = schema.validate({}, json.loads(path.read_text(encoding="utf-8")))
            self.assertNotIn("does not know", " ".join(faults), path.name)


class Count(unittest.TestCase):
    JUNIT = '<testsuite>{}</testsuite>'

    def counts(self, junit, xmls=None):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "ctest.xml").write_text(self.JUNIT.format(junit))
            for file, text in (xmls or {}).items():
                (folder / file).write_text(text)
            return count.folder_counts(folder)

    def test_looks_inside_googletest_results(self):
        xml = ('<testsuites><testsuite><testcase status="run" result="completed"/><testcase status="run" result="skipped"/>'
               '<testcase status="run" result="completed"><failure/></testcase></testsuite></testsuites>')
        self.assertEqual(self.counts('<testcase name="a" status="fail"><failure/></testcase>', {"a_test.xml": xml}), (1, 1, 1))

    def test_a_crash_is_one_failure(self):
        self.assertEqual(self.counts('<testcase name="a" status="fail"><failure/></testcase>'), (0, 1, 0))

    def test_a_program_that_is_missing_is_a_failure_and_a_declared_skip_is_a_skip(self):
        missing = '<testcase name="a" status="notrun"><skipped message="Unable to find executable"/></testcase>'
        declared = '<testcase name="b" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/></testcase>'
        self.assertEqual(self.counts(missing + declared), (0, 1, 1))

    def test_a_leak_after_all_cases_passed_is_a_failure(self):
        xml = '<testsuites><testsuite><testcase status="run" result="completed"/></testsuite></testsuites>'
        self.assertEqual(self.counts('<testcase name="a" status="fail"><failure/></testcase>', {"a_test.xml": xml}), (1, 1, 0))

    def test_reads_the_count_line_of_a_script(self):
        entry = '<testcase name="e2e" status="run"><system-out>x\n7 passed, 0 failed, 2 skipped\n</system-out></testcase>'
        self.assertEqual(self.counts(entry), (7, 0, 2))

    def test_a_build_that_failed_counts_as_a_failure(self):
        with tempfile.TemporaryDirectory() as name:
            (pathlib.Path(name) / "build.failed").write_text("x")
            self.assertEqual(count.folder_counts(pathlib.Path(name)), (0, 1, 0))

    def test_no_results_at_all_are_a_failure(self):
        with tempfile.TemporaryDirectory() as name:
            self.assertEqual(count.folder_counts(pathlib.Path(name)), (0, 1, 0))


if __name__ == "__main__":
    # The count line that tests/count.py reads.
    result = unittest.main(exit=False, verbosity=0).result
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad} passed, {bad} failed")
    sys.exit(1 if bad else 0)
