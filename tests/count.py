#!/usr/bin/env python3
"""Counts test results below the given results folders and prints `N passed, N failed[, N skipped]` as the last line.

One ctest entry runs many cases, so the count looks inside: a GoogleTest binary leaves NAME_test.xml, a Python test prints its own
count line, anything else counts as one. A binary that crashed leaves no file: it counts as one failure and never as nothing.
"""
import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree

COUNT_LINE = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.MULTILINE)


def googletest_counts(path):
    """(passed, failed, skipped) of one GoogleTest XML file."""
    passed = failed = skipped = 0
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None:
            failed += 1
        elif case.get("result") == "skipped" or case.find("skipped") is not None:
            skipped += 1
        elif case.get("status") == "run":
            passed += 1
    return passed, failed, skipped


def entry_counts(entry, results):
    """(passed, failed, skipped) of one ctest entry, `entry` being its JUnit element."""
    status = entry.get("status")
    skip = entry.find("skipped")
    if status == "disabled" or (skip is not None and (skip.get("message") or "").startswith("SKIP_")):
        return 0, 0, 1
    failed_entry = status != "run" or entry.find("failure") is not None  # "notrun" without a skip: its program is missing
    xml = results / f"{entry.get('name')}_test.xml"
    if xml.exists():
        counts = googletest_counts(xml)
    else:
        lines = COUNT_LINE.findall(entry.findtext("system-out") or "")
        counts = tuple(int(n or 0) for n in lines[-1]) if lines else ((0, 1, 0) if failed_entry else (1, 0, 0))
    passed, failed, skipped = counts
    if failed_entry and failed == 0:  # every case passed, yet the process failed: a leak, a crash at exit
        failed = 1
    return passed, failed, skipped


def folder_counts(results):
    """(passed, failed, skipped) of one results folder."""
    if (results / "build.failed").exists():
        return 0, 1, 0
    junit = results / "ctest.xml"
    if not junit.exists():
        return 0, 1, 0
    totals = [0, 0, 0]
    for entry in ElementTree.parse(junit).getroot().iter("testcase"):
        for i, count in enumerate(entry_counts(entry, results)):
            totals[i] += count
    return tuple(totals)


def main(folders):
    totals = [0, 0, 0]
    for folder in folders:
        for i, count in enumerate(folder_counts(pathlib.Path(folder))):
            totals[i] += count
    passed, failed, skipped = totals
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
