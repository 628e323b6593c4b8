#!/usr/bin/env python3
"""Mutation testing of src/kernels: how many small faults do its tests notice?

`tests/mutation/mutate.py [--seed N] [--count N] [--files GLOB] [--list] [--json FILE]` changes one operator, bound or constant at a time in a
copy of the sources, rebuilds what includes the changed file, runs kernels_test, and prints the share of mutants killed and every survivor.
A mutant that does not compile is left out of the share; one that hangs counts as killed. The draw depends on the seed and the sources only.

The copy, its objects and its test binary live in build/mutation. Loops are not unrolled and the emulated AVX-512 backend is left out, so that
a mutant takes seconds: mutants of the AVX-512 backend are drawn only where the CPU runs it. Standard library only.
"""
import argparse
import concurrent.futures
import fnmatch
import json
import os
import pathlib
import platform
import random
import re
import resource
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "mutation"
FOLDER = "src/kernels"
MEMORY_BYTES = 8 << 30  # a mutant that allocates without end is not to end the machine
FLAGS = ["-std=c++20", "-O1", "-DNDEBUG", "-DFMT_SHARED", "-DASSAY_SIMD_ROLLED", "-DASSAY_WITHOUT_EMULATION", "-ffp-contract=off", "-w"]
BACKEND_FLAGS = {
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
    "avx512": ["-mavx2", "-mfma", "-mf16c", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni", "-mavx512bf16"],
}
BACKENDS = ["generic", *(BACKEND_FLAGS if platform.machine() in ("x86_64", "AMD64") else [])]
# Where a fault cannot show in an answer: what is only faster or slower, text for people, and what other tests hold.
NEVER = re.compile(r"[Pp]refetch|ASSAY_(UNROLL|INLINE|CHECK|DCHECK)|static_assert|fmt::format|Unsupported\(|BadInput\(|reserve\(|#|^\s*(//|\*)")

OPERATORS = [
    (r"(?<=\s)<(?=\s)", ["<=", ">"]), (r"(?<=\s)<=(?=\s)", ["<"]), (r"(?<=\s)>(?=\s)", [">=", "<"]), (r"(?<=\s)>=(?=\s)", [">"]),
    (r"(?<=\s)==(?=\s)", ["!="]), (r"(?<=\s)!=(?=\s)", ["=="]), (r"(?<=\s)&&(?=\s)", ["||"]), (r"(?<=\s)\|\|(?=\s)", ["&&"]),
    (r"(?<=\s)\+(?=\s)", ["-"]), (r"(?<=\s)-(?=\s)", ["+"]), (r"(?<=\w\s)\*(?=\s)", ["+"]), (r"(?<=\s)/(?=\s)", ["*"]),
    (r"(?<=\s)%(?=\s)", ["/"]), (r"(?<=\s)\+=(?=\s)", ["-="]), (r"(?<=\s)<<(?=\s)", [">>"]), (r"(?<=\s)>>(?=\s)", ["<<"]),
    (r"\bstd::min\b", ["std::max"]), (r"\bstd::max\b", ["std::min"]), (r"\bMax\(", ["Min("]), (r"\bMin\(", ["Max("]),
    (r"\bAdd\(", ["Sub("]), (r"\bSub\(", ["Add("]), (r"\bMul\(", ["Add("]), (r"\bLess\(", ["Equal("]),
    (r"\btrue\b", ["false"]), (r"\bfalse\b", ["true"]),
]
INTEGER = re.compile(r"(?<![\w.])(\d+)(?![\w.])")
REAL = re.compile(r"(?<![\w.])(\d+\.\d+(?:e-?\d+)?)(?=f?\b)")


def code_of(line):
    """The line with strings and a trailing comment blanked, so that columns stay."""
    line = re.sub(r'"(?:\\.|[^"\\])*"', lambda m: " " * len(m.group()), line)
    comment = line.find("//")
    return line if comment < 0 else line[:comment] + " " * (len(line) - comment)


def mutants_of(name, text):
    """(line index, column, old, new) of every fault that the rules above allow in a file."""
    for index, line in enumerate(text.split("\n")):
        if NEVER.search(line):
            continue
        code = code_of(line)
        for pattern, replacements in OPERATORS:
            for match in re.finditer(pattern, code):
                for new in replacements:
                    yield name, index, match.start(), match.group(), new
        for match in INTEGER.finditer(code):
            yield name, index, match.start(), match.group(), str(int(match.group()) + 1)
        for match in REAL.finditer(code):
            value = float(match.group())
            yield name, index, match.start(), match.group(), repr(value * 1.01 if value else 0.01)


def cpu_has_avx512():
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags and "avx512_vnni" in flags


def mutable_files(pattern):
    for path in sorted((ROOT / FOLDER).iterdir()):
        name = path.name
        if path.suffix not in (".cc", ".h") or "test" in name or name in ("softmax_case.h", "simd_probe.h", "simd_probe-inl.h", "simd_emulation.h"):
            continue
        if "avx512" in name and not cpu_has_avx512():
            continue
        if fnmatch.fnmatch(name, pattern):
            yield f"{FOLDER}/{name}"


class Tree:
    """A copy of the sources, built without CMake: the objects of src/kernels and of what it includes."""

    def __init__(self, compiler, jobs):
        self.compiler, self.jobs = compiler, jobs
        self.root = WORK / "tree"
        for folder in ("src/core", FOLDER, "include"):
            target = self.root / folder
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(ROOT / folder, target)
        self.generate_units()
        self.includes = {}
        self.units = self.find_units()
        self.objects = WORK / "objects"
        shutil.rmtree(self.objects, ignore_errors=True)
        self.objects.mkdir(parents=True)

    def find(self, include):
        for base in ("src", "include"):
            if (self.root / base / include).is_file():
                return f"{base}/{include}"
        return None

    def included_by(self, name):
        """Every file of the tree that `name` includes, itself first, transitively."""
        if name not in self.includes:
            self.includes[name] = {name}
            for include in re.findall(r'^\s*#include "([^"]+)"', (self.root / name).read_text(), re.M):
                found = self.find(include)
                if found:
                    self.includes[name] |= self.included_by(found)
        return self.includes[name]

    def generate_units(self):
        """A unit for each backend and family of kernels, as cmake/AssayKernels.cmake has it."""
        families = re.search(r"set\(kernel_families ([^)]*)\)", (ROOT / "cmake/AssayKernels.cmake").read_text()).group(1).replace("-inl.h", "").split()
        for backend in BACKENDS:
            for family in families:
                (self.root / FOLDER / f"{family}_{backend}.cc").write_text(
                    f"#define ASSAY_SIMD_NAMESPACE {backend}\n#define ASSAY_SIMD_{backend.upper()}\n#include \"kernels/{family}-inl.h\"\n")

    def find_units(self):
        pending = [f"{FOLDER}/{path.name}" for path in sorted((self.root / FOLDER).glob("*.cc"))]
        units = []
        while pending:
            unit = pending.pop()
            if unit in units:
                continue
            units.append(unit)
            for name in self.included_by(unit):
                source = re.sub(r"\.h$", ".cc", name)
                if source != name and source not in units and (self.root / source).is_file():
                    pending.append(source)
        return sorted(units)

    def object_of(self, unit, mutant=False):
        return self.objects / (unit.replace("/", "_") + (".mutant.o" if mutant else ".o"))

    def compile(self, unit, mutant):
        flags = [flag for backend, extra in BACKEND_FLAGS.items() if f"_{backend}" in unit and "emulated" not in unit for flag in extra]
        command = [self.compiler, *FLAGS, *flags, f"-DASSAY_SHARED_DATA_DIR=\"{WORK}/none\"", f"-DASSAY_SOURCE_DIR=\"{self.root}\"",
                   "-I", str(self.root / "src"), "-I", str(self.root / "include"), "-c", str(self.root / unit), "-o", str(self.object_of(unit, mutant))]
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def build(self, units, mutant):
        """Compiles `units` and links them with the unchanged objects of the rest. What went wrong, or an empty string."""
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            for result in pool.map(lambda unit: self.compile(unit, mutant), units):
                if result.returncode != 0:
                    pool.shutdown(cancel_futures=True)
                    return result.stderr
        link = [self.compiler, *[str(self.object_of(unit, mutant and unit in units)) for unit in self.units], "-o", str(WORK / "kernels_test"),
                "-lgtest_main", "-lgtest", "-lfmt", "-lpthread"]
        result = subprocess.run(link, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return result.stderr if result.returncode != 0 else ""

    def build_mutant(self, name):
        # A backend that this CPU does not run may keep its old object: nothing calls it.
        return self.build([unit for unit in self.units if name in self.included_by(unit) and ("avx512" not in unit or cpu_has_avx512())], True)


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def run_tests(timeout_s):
    """None if the tests pass, else how they noticed."""
    try:
        result = subprocess.run([str(WORK / "kernels_test"), "--gtest_brief=1", "--gtest_fail_fast"], capture_output=True, text=True,
                                errors="replace", timeout=timeout_s, stdin=subprocess.DEVNULL, preexec_fn=limit_memory)
    except subprocess.TimeoutExpired:
        return "timeout"
    if result.returncode == 0:
        return None
    failed = re.search(r"\[  FAILED  \] (\S+)", result.stdout)
    return failed.group(1) if failed else f"exit {result.returncode}"


def describe(mutant, text):
    name, index, column, old, new = mutant
    line = text.split("\n")[index]
    return f"{name}:{index + 1}: {old} -> {new} in: {(line[:column] + '[' + new + ']' + line[column + len(old):]).strip()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--files", default="*", help="only files of src/kernels that match, such as 'softmax*'")
    parser.add_argument("--list", action="store_true", help="print the mutants drawn and stop")
    parser.add_argument("--json", help="write the outcome of every mutant to this file")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--compiler", default=os.environ.get("CXX", "g++"))
    options = parser.parse_args()

    texts = {name: (ROOT / name).read_text() for name in mutable_files(options.files)}
    possible = [mutant for name, text in texts.items() for mutant in mutants_of(name, text)]
    if not possible:
        sys.exit(f"mutate: no file of {FOLDER} matches '{options.files}'")
    drawn = random.Random(options.seed).sample(possible, min(options.count, len(possible)))
    print(f"seed {options.seed}: {len(drawn)} of {len(possible)} possible mutants in {len(texts)} files", flush=True)
    if options.list:
        for mutant in drawn:
            print(describe(mutant, texts[mutant[0]]))
        return 0

    WORK.mkdir(parents=True, exist_ok=True)
    tree = Tree(options.compiler, options.jobs)
    error = tree.build(tree.units, False)
    if error:
        sys.exit(f"mutate: the sources do not build unchanged:\n{error}")
    began = time.monotonic()
    noticed = run_tests(3600)
    if noticed is not None:
        sys.exit(f"mutate: the tests fail on the unchanged sources: {noticed}")
    timeout_s = 30 + 3 * (time.monotonic() - began)

    outcomes = []
    for number, mutant in enumerate(drawn, 1):
        name, index, column, old, new = mutant
        lines = texts[name].split("\n")
        lines[index] = lines[index][:column] + new + lines[index][column + len(old):]
        (tree.root / name).write_text("\n".join(lines))
        error = tree.build_mutant(name)
        how = "does not compile" if error else run_tests(timeout_s)
        (tree.root / name).write_text(texts[name])
        text = describe(mutant, texts[name])
        outcomes.append({"mutant": text, "outcome": "stillborn" if error else "survived" if how is None else "killed", "by": how})
        print(f"[{number}/{len(drawn)}] {'SURVIVED' if how is None else how}: {text}", flush=True)

    killed = sum(outcome["outcome"] == "killed" for outcome in outcomes)
    survivors = [outcome["mutant"] for outcome in outcomes if outcome["outcome"] == "survived"]
    counted = killed + len(survivors)
    share = f"{100 * killed / counted:.1f} %" if counted else "nothing to count"
    print(f"\nseed {options.seed}: {killed} of {counted} mutants killed ({share}); {len(outcomes) - counted} did not compile")
    for survivor in survivors:
        print(f"survived {survivor}")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps({"seed": options.seed, "killed": killed, "counted": counted, "mutants": outcomes}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
