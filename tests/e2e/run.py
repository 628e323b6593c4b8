#!/usr/bin/env python3
"""Runs the end-to-end tests: plain text files that hold a command, its exit code and what it prints.

    # A comment.
    file bad.toml            a file in the case's own empty folder, its lines below after a bar
    | [model]
    $ assay audit bad.toml   the command, run by bash in that folder, without terminal and with an empty stdin
    exit 2                   the expected exit code; 0 where the line is absent
    out| text                a line of stdout; all such lines together are the whole of it, times and paths masked
    out~ regex               stdout has a match; out! regex: it has none
    err| err~ err!           the same for stderr
    json NAME                stdout is one JSON object and validates against docs/schemas/NAME.schema.json
    shared traces/x.csv      skipped unless that file of the shared data is there; $SHARED is its folder
    timeout 120              seconds, 60 where absent

A case without any `out` or `json` line must print nothing on stdout: messages belong on stderr. A failing command must say something
on stderr. UPDATE_GOLDEN=1 rewrites `out|`, `err|` and `exit` lines from what the program does; read the diff before you keep it.
"""
import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import schema  # noqa: E402

REPO = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("ASSAY_SHARED_DATA", REPO.parent / "shared" / "data"))

# What differs from run to run and from machine to machine is masked before it is compared.
MASKS = [
    (re.compile(r"\b\d+(?:\.\d+)?(?:e[+-]?\d+)? ?(?:ns|us|µs|ms|s|min|h)\b"), "<time>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?)?"), "<date>"),
]


@dataclasses.dataclass
class Case:
    path: pathlib.Path
    line: int
    command: str
    end: int = 0  # index of the line after the case, for UPDATE_GOLDEN
    files: dict = dataclasses.field(default_factory=dict)
    exit_code: int = 0
    exact: dict = dataclasses.field(default_factory=dict)  # "out" or "err" -> expected lines
    patterns: list = dataclasses.field(default_factory=list)  # (stream, wanted, regex)
    schema_name: str = ""
    shared: list = dataclasses.field(default_factory=list)
    timeout_s: int = 60

    @property
    def name(self):
        return f"{self.path.name}:{self.line}: {self.command}"


class FormatError(Exception):
    """A test file that cannot be read; its text says where."""


def parse(path):
    """The cases of one file."""
    cases, files, last_file, case = [], {}, None, None
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line.startswith("| "):
            if last_file is None:
                raise FormatError(f"{path}:{number}: a line of a file without `file NAME` above it")
            files[last_file] += line[2:] + "\n"
        elif line == "|":
            files[last_file] += "\n"
        elif line.startswith("file "):
            # Files belong to the command below them; the first `file` after a case starts a new set.
            if case is not None:
                files, case = {}, None
            last_file = line[5:].strip()
            files[last_file] = ""
        elif line.startswith("$ "):
            if case is not None:
                files = {}
            case = Case(path, number, line[2:], files=files, end=number)
            last_file = None
            cases.append(case)
        elif line.strip() == "" or line.startswith("#"):
            continue
        elif case is None:
            raise FormatError(f"{path}:{number}: '{line}' stands before any command")
        else:
            expectation(case, line, number)
            case.end = number
    return cases


def expectation(case, line, number):
    """Reads one line below a command into `case`."""
    match = re.match(r"(out|err)([|~!]) ?(.*)$", line)
    try:
        if match and match[2] == "|":
            case.exact.setdefault(match[1], []).append(match[3])
        elif match:
            case.patterns.append((match[1], match[2] == "~", re.compile(match[3], re.MULTILINE)))
        elif line.startswith("exit "):
            case.exit_code = int(line[5:])
        elif line.startswith("json "):
            case.schema_name = line[5:].strip()
        elif line.startswith("shared "):
            case.shared.append(line[7:].strip())
        elif line.startswith("timeout "):
            case.timeout_s = int(line[8:])
        else:
            raise ValueError("not a line of a case")
    except (ValueError, re.error) as error:
        raise FormatError(f"{case.path}:{number}: '{line}': {error}") from error


def mask(text, folder):
    text = text.replace(str(folder), "<tmp>").replace(str(REPO), "<repo>").replace(str(SHARED), "<shared>")
    for pattern, replacement in MASKS:
        text = pattern.sub(replacement, text)
    return [line.rstrip() for line in text.rstrip("\n").split("\n")] if text else []


def execute(case, program, folder):
    """Runs the command; (exit code or None on a timeout, stdout, stderr)."""
    for name, text in case.files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    environment = {
        "PATH": f"{program.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder), "XDG_DATA_HOME": str(folder / ".local"), "TMPDIR": str(folder),
        "REPO": str(REPO), "SHARED": str(SHARED), "LC_ALL": "C.UTF-8", "TZ": "UTC", "NO_COLOR": "1",
    }
    process = subprocess.Popen(["bash", "-c", case.command], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        out, err = process.communicate(timeout=case.timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return None, out.decode(errors="replace"), err.decode(errors="replace")
    return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")


def judge(case, code, out, err, folder):
    """What is wrong with the outcome, a list of sentences; empty when all is as expected."""
    wrong = []
    if code is None:
        return [f"still running after {case.timeout_s} s"]
    if code < 0 or code > 128:
        wrong.append(f"killed by signal {-code if code < 0 else code - 128}")
    if code != case.exit_code:
        wrong.append(f"exit code {code}, expected {case.exit_code}")
    if "a bug in Assay" in err and case.exit_code != 4:
        wrong.append("the program reports a bug in itself")
    if code != 0 and not err.strip() and not out.strip():
        wrong.append("it failed without a word")
    streams = {"out": out, "err": err}
    for stream, expected in case.exact.items():
        actual = mask(streams[stream], folder)
        if actual != expected:
            wrong.append(f"std{stream} differs:\n" + difference(expected, actual))
    for stream, wanted, regex in case.patterns:
        if bool(regex.search(streams[stream])) != wanted:
            wrong.append(f"std{stream} {'has no' if wanted else 'has a'} match of '{regex.pattern}'")
    constrained = "out" in case.exact or case.schema_name or any(stream == "out" for stream, _, _ in case.patterns)
    if not constrained and out:
        wrong.append("stdout should be empty")
    if case.schema_name:
        wrong += json_faults(out, case.schema_name)
    return wrong


def json_faults(out, name):
    try:
        value = json.loads(out, parse_constant=lambda word: (_ for _ in ()).throw(ValueError(f"{word} is not JSON")))
    except ValueError as error:
        return [f"stdout is not one JSON document: {error}"]
    path = REPO / "docs" / "schemas" / f"{name}.schema.json"
    if not path.exists():
        return [f"no schema {path.relative_to(REPO)}"]
    return [f"{name}: {fault}" for fault in schema.validate(value, json.loads(path.read_text(encoding="utf-8")))]


def difference(expected, actual):
    import difflib
    return "\n".join(difflib.unified_diff(expected, actual, "expected", "actual", lineterm="", n=2))


def rewrite(path, outcomes):
    """UPDATE_GOLDEN: replaces the exact expectations of the cases of `path` by what happened."""
    lines = path.read_text(encoding="utf-8").split("\n")
    for case, code, streams in reversed(outcomes):
        start = case.line  # the line after the command, counted from 0
        kept = [line for line in lines[start:case.end] if not re.match(r"(out|err)\||exit ", line)]
        fresh = ([f"exit {code}"] if code else []) + [
            f"{stream}| {text}".rstrip() for stream in ("out", "err") if stream in case.exact for text in streams[stream]]
        lines[start:case.end] = kept[:0] + fresh[:1 if code else 0] + kept + fresh[1 if code else 0:]
    path.write_text("\n".join(lines), encoding="utf-8")


def run_case(case, program):
    """(case, state, sentences, code, masked streams); state is passed, failed or skipped."""
    absent = [name for name in case.shared if not (SHARED / name).exists()]
    if absent:
        return case, "skipped", [f"no {SHARED / absent[0]}"], 0, {}
    with tempfile.TemporaryDirectory(prefix="assay-e2e-") as name:
        folder = pathlib.Path(name)
        code, out, err = execute(case, program, folder)
        wrong = judge(case, code, out, err, folder)
        if wrong:
            tail = "\n".join(err.rstrip().split("\n")[-8:])
            wrong.append(f"stderr was:\n{tail}" if tail else "stderr was empty")
        streams = {"out": mask(out, folder), "err": mask(err, folder)}
    return case, "failed" if wrong else "passed", wrong, code, streams


def main(argv):
    parser = argparse.ArgumentParser(description="Runs the end-to-end tests.")
    parser.add_argument("--program", required=True, help="the built assay program")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("files", nargs="*", help="*.test files; all beside this script where none is given")
    options = parser.parse_args(argv)
    program = pathlib.Path(options.program).resolve()
    if not program.exists() or shutil.which("bash") is None:
        print(f"run.py: no program at {program}, or no bash", file=sys.stderr)
        return 2
    paths = [pathlib.Path(name) for name in options.files] or sorted(pathlib.Path(__file__).parent.glob("*.test"))
    try:
        cases = [case for path in paths for case in parse(path)]
    except (FormatError, OSError) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    outcomes = {}
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for case, state, sentences, code, streams in pool.map(lambda case: run_case(case, program), cases):
            counts[state] += 1
            if state != "skipped" and code is not None:
                outcomes.setdefault(case.path, []).append((case, code, streams))
            if state != "passed":
                print(f"{state.upper()} {case.name}")
                for sentence in sentences:
                    print("    " + sentence.replace("\n", "\n    "))
    if os.environ.get("UPDATE_GOLDEN") == "1":
        for path, items in outcomes.items():
            rewrite(path, items)
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts))
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
