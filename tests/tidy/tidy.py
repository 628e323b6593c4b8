#!/usr/bin/env python3
"""The rules of the house that no compiler checks, as one test. Each rule is a function from a Tree to faults; tidy_selftest.py plants a
violation of every one. `tests/tidy/tidy.py [--build BUILD_DIR]`: without a build folder the rules that need one are left out.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

# The order of the house (docs/architecture.md): a folder includes itself and folders before it.
FOLDERS = ["core", "stats", "formats", "store", "kernels", "mechanisms", "foreign", "machine", "nn", "platform", "serving", "probes",
           "study", "claims", "advice", "report", "cli"]

# Headers that cost seconds a translation unit, or tie a contract to a library: .cc files only.
HEAVY = re.compile(r"<(CLI/|nlohmann/json\.hpp|toml\+\+/|toml\.hpp|httplib\.h|sqlite3\.h|muParser)")

# A call, and what to use instead.
BANNED_CALLS = {
    r"\bstr(?:cpy|cat|ncpy|ncat|tok)\s*\(": "std::string",
    r"\bv?sprintf\s*\(": "fmt::format",
    r"\bgets\s*\(": "std::getline",
    r"\bato[ifl]+\s*\(": "std::from_chars, which can say that it failed",
    r"\bstd::sto[a-z]+\s*\(": "std::from_chars: these throw on bad input",
    r"(?<![\w.>:])(?:std::)?s?rand\s*\(": "core/random.h: every stream is derived from the seed",
    r"\bstd::(?:random_device|mt19937\w*|shuffle)\b": "core/random.h: every stream is derived from the seed, alike on every platform",
    r"(?<![\w.>])(?:std::)?system\s*\(": "a library, or fork and exec with a fixed argument list",
    r"\bpopen\s*\(": "a library, or fork and exec with a fixed argument list",
    r"\b(?:tmpnam|mktemp|tempnam)\s*\(": "mkstemp or mkdtemp",
    r"\busing\s+namespace\s+std\b": "names with their std::",
    r"#\s*include\s*<format>": "fmt: GCC 12 has no std::format",
}
BUILD_BANNED = {r"-ffast-math": "no flag that lets the compiler change results", r"-Ofast\b": "no flag that lets the compiler change results",
                r"-march=native": "one unit per backend with its own flags, chosen by CPUID"}

# Nothing in the repository speaks of how or where it was written. Written in pieces so that this file obeys its own rule.
BANNED_WORDS = [
    "/wo" + r"rk/\w", "/ro" + r"ot/\w", "/ho" + r"me/\w", r"\bland" + r"\.sh\b", r"\bBRI" + r"EF\b", r"\b(?:the|our|my|your|this) bri" + r"ef\b(?! (?:moment|pause|summary|description|form))",
    r"\bwork" + r"tree\b", r"\bsub-?ag" + r"ents?\b", r"\bhelper sess" + r"ions?\b", r"\b(?:this|another|other|next|previous|your|our) sess" + r"ion\b",
    r"\b(?:this|the) sit" + r"ting\b", r"\bwork" + r"place\b", r"\.libr" + r"ary/", r"\bcla" + r"ude\b", r"\banth" + r"ropic\b", r"\bLL" + r"M-written\b",
    r"https?://[^\s/]*(?:artif" + r"actory|nex" + r"us|pkg-?pr" + r"oxy|mirr" + r"or)[^\s/]*", r"https?://(?:10|172|192)\.\d+\.\d+\.\d+",
    r"\bDES" + r"IGN\b", r"\bSTY" + r"LE\.md\b", r"\bknow" + r"ledge/\w", r"\bas an AI\b",
]

# Which package brings what CMake looks for; `./dev setup` installs them by these names.
PACKAGES = {"Threads": None, "Python3": "python3", "fmt": "libfmt-dev", "nlohmann_json": "nlohmann-json3-dev", "CLI11": "libcli11-dev",
            "SQLite3": "libsqlite3-dev", "OpenSSL": "libssl-dev", "GTest": "libgtest-dev", "muparser": "libmuparser-dev",
            "rapidcheck": "librapidcheck-dev", "tomlplusplus": "libtomlplusplus-dev", "PCRE2": "libpcre2-dev", "httplib": "libcpp-httplib-dev",
            "pybind11": "pybind11-dev", "MPI": "libopenmpi-dev", "PkgConfig": "pkg-config"}

# Names of the standard library and the header that declares them. A header that another drags in today is gone in the next release.
STANDARD = {
    "algorithm": r"(?:ranges::)?(?:copy(?:_n|_if)?|fill(?:_n)?|(?:stable_|partial_)?sort|nth_element|(?:any|all|none)_of|find_if|count(?:_if)?|transform|"
                 r"(?:min|max|minmax)_element|(?:lower|upper)_bound|binary_search|reverse|rotate|unique|remove_if|equal|clamp|min|max|minmax|"
                 r"for_each|adjacent_find|is_sorted|set_difference)\s*[(<{]",
    "numeric": r"(?:accumulate|iota|reduce|inner_product|partial_sum|gcd|lcm|midpoint)\s*[(<]",
    "cmath": r"(?:sqrt|exp2?|expm1|log(?:2|1p|10)?|pow|floor|ceil|l?l?round|isnan|isfinite|isinf|ldexp|frexp|fma|fmod|hypot|tanh|erf|lgamma|"
             r"nextafter|signbit|trunc|nearbyint|cos|sin|copysign)\s*\(",
    "cstring": r"(?:mem(?:cpy|set|cmp|move)|strlen|strcmp|strerror)\s*\(",
    "charconv": r"(?:from|to)_chars\b", "sstream": r"[io]?stringstream\b", "fstream": r"[io]?fstream\b", "memory": r"(?:unique|shared)_ptr\b|make_(?:unique|shared)\b",
    "functional": r"(?:function|less|greater|hash)\b", "utility": r"(?:exchange|pair|swap)\b", "bit": r"(?:bit_cast|popcount|count[lr]_zero|bit_ceil)\b",
    "mutex": r"(?:mutex|lock_guard|unique_lock)\b", "tuple": r"(?:tuple|tie)\b", "limits": r"numeric_limits\b", "variant": r"(?:variant|visit|holds_alternative)\b",
    "map": r"(?:multi)?map\b", "set": r"(?:multi)?set\b", "optional": r"(?:optional|nullopt)\b", "unordered_map": r"unordered_map\b", "thread": r"(?:thread|this_thread)\b",
    **{name: rf"{name}\b" for name in ("array", "span", "string", "string_view", "vector", "filesystem", "chrono", "atomic", "condition_variable")},
}

# The libraries' names, and where their headers stand.
LIBRARIES = {"fmt/": r"\bfmt::\w+", "nlohmann/": r"\bnlohmann::\w+", "CLI/": r"\bCLI::(?!App\b)\w+", "gtest/": r"\b(?:TEST|TEST_F|TEST_P|GTEST_SKIP)\s*\(",
             "rapidcheck": r"\brc::\w+"}

BACKENDS = ("generic", "avx2", "avx512")


class Tree:
    """The files of the repository, read once: those git tracks or would track, or every file where there is no git."""

    def __init__(self, root, build=None):
        self.root = pathlib.Path(root)
        self.build = pathlib.Path(build) if build else None
        self.files = sorted(self._list())
        self._text = {}

    def _list(self):
        listed = subprocess.run(["git", "-C", str(self.root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                                capture_output=True, text=True)
        inside = (self.root / ".git").exists() and listed.returncode == 0
        names = listed.stdout.split("\0") if inside else [
            str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file() and not str(path.relative_to(self.root)).startswith("build/")]
        return {name for name in names if name and (self.root / name).is_file()}

    def text(self, name):
        """The text of a file; empty for a file that is not text."""
        if name not in self._text:
            try:
                self._text[name] = (self.root / name).read_text(encoding="utf-8")
            except UnicodeDecodeError:
                self._text[name] = ""
        return self._text[name]

    def cpp(self):
        return [name for name in self.files if name.endswith((".cc", ".h", ".inc"))]


def lines_matching(text, regex):
    for match in re.finditer(regex, text):
        yield text.count("\n", 0, match.start()) + 1, match


def code_of(text):
    """C++ without comments and with empty strings, lines kept."""
    def blank(match):
        token = match.group(0)
        if token.startswith('R"') or token[0] in "\"'":
            return '""' + "\n" * token.count("\n")
        return "\n" * token.count("\n")
    return re.sub(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])\'', blank, text, flags=re.DOTALL)


def is_test(name):
    return name.startswith("tests/") or re.search(r"(_test|_fuzz|/test)\.(cc|h)$", name) is not None


# ----------------------------------------------------------------------------------------------------------------- rules


def include_order(tree):
    """A folder of src/ includes itself and folders above it; mechanisms never include each other; heavy headers stay in .cc files."""
    rank = {folder: i for i, folder in enumerate(FOLDERS)}
    for name in tree.cpp():
        parts = name.split("/")
        text = tree.text(name)
        for line, match in lines_matching(text, r'(?m)^\s*#\s*include\s*([<"][^>"\n]+[>"])'):
            target = match[1]
            if name.endswith(".h") and HEAVY.match(target):
                yield f"{name}:{line}: {target} is a heavy header; include it in a .cc file"
            if target.startswith("<CLI/") and not name.startswith("src/cli/"):
                yield f"{name}:{line}: only src/cli parses command lines"
            if parts[0] != "src" or len(parts) < 3 or target[0] != '"':
                continue
            folder, to = parts[1], target[1:-1].split("/")
            if folder not in rank:
                yield f"{name}:{line}: src/{folder} is not in the order of the house"
            elif to[0] in rank and rank[to[0]] > rank[folder]:
                yield f"{name}:{line}: {folder} includes {to[0]}, which stands below it"
            elif folder == to[0] == "mechanisms" and len(parts) > 3 and len(to) > 2 and parts[2] != to[1]:
                yield f"{name}:{line}: mechanism {parts[2]} includes mechanism {to[1]}"
            elif to[0] not in rank and ((tree.root / name).parent / target[1:-1]).exists():
                yield f"{name}:{line}: {target}: includes are written from src/ or include/"


def standard_headers(tree):
    """A file includes, itself or through the project's own headers, the header of each standard or library name it uses: precompiled
    headers would hide that it does not."""
    def standard_of(name, seen):
        for _, match in lines_matching(tree.text(name), r'(?m)^\s*#\s*include\s*([<"])([^>"\n]+)[>"]'):
            inner = next((folder + match[2] for folder in ("src/", "include/") if folder + match[2] in tree.files), None)
            if match[1] == "<" or not inner:
                yield match[2]
            elif inner not in seen:
                seen.add(inner)
                yield from standard_of(inner, seen)

    for name in tree.cpp():
        included = set(standard_of(name, {name}))
        code = code_of(tree.text(name))
        for header, names in STANDARD.items():
            if header not in included:
                for line, match in lines_matching(code, rf"\bstd::(?:{names})"):
                    yield f"{name}:{line}: {match[0].rstrip(' (<{')} needs #include <{header}>"
                    break
        for library, names in LIBRARIES.items():
            if not any(header.startswith(library) for header in included):
                for line, match in lines_matching(code, names):
                    yield f"{name}:{line}: {match[0]} needs a header of <{library}>"
                    break


def folder_list(tree):
    """src/CMakeLists.txt names the folders in the order of the house."""
    listed = [match[1] for _, match in lines_matching(tree.text("src/CMakeLists.txt"), r"(?m)^assay_folder\((\w+)")]
    expected = [folder for folder in FOLDERS if folder in listed]
    if listed != expected:
        yield f"src/CMakeLists.txt: folders stand as {listed}, the order of the house is {expected}"


def compile_commands(tree):
    path = tree.build / "compile_commands.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def weak_symbols(tree):
    """An object built for a wider instruction set holds no weak symbol outside its backend's namespace: the linker would keep one copy
    of such a function for the whole program, perhaps the one that an older CPU cannot run."""
    if tree.build is None:
        return
    sources = [name for name in tree.files if re.search(r"src/.*(avx2|avx512)\w*\.cc$", name) and not is_test(name)]
    objects = []
    for entry in compile_commands(tree):
        if re.search(r" -m(avx|fma|amx|f16c|bmi)", entry.get("command", "")):
            path = tree.build / re.search(r" -o (\S+)", entry["command"])[1]
            if not re.search(r"_(avx2|avx512)\w*\.cc$", entry["file"]) and not is_test(entry["file"]):
                yield f"{entry['file']}: a wide instruction set belongs into a file named after its backend"
            if path.exists() and not is_test(entry["file"]):
                objects.append(path)
    if sources and not objects:
        yield f"{sources[0]}: no object of a wide backend in {tree.build}: is it built, with its -m flags?"
    for path in objects:
        yield from weak_symbols_of(path)


def weak_symbols_of(path):
    listing = subprocess.run(["nm", "-C", str(path)], capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        match = re.match(r"[0-9a-f ]{16} ([WVu]) (.*)$", line)
        if match and not re.search(rf"\b({'|'.join(BACKENDS)})\w*::", match[2]) and not match[2].startswith(("DW.ref.", "guard variable")):
            defined = not line.startswith(" ")
            if defined:
                yield f"{path.name}: weak symbol outside its backend's namespace: {match[2]}"


def dead_files(tree):
    """A header that nobody includes, a source that nobody builds, a document that nobody can reach."""
    included = set()
    for name in tree.cpp():
        for _, match in lines_matching(tree.text(name), r'(?m)^\s*#\s*include\s*[<"]([^>"\n]+)[>"]'):
            included.add(match[1])
    cmake = "\n".join(tree.text(name) for name in tree.files if name.endswith((".cmake", "CMakeLists.txt")))
    for name in tree.cpp():
        if name.endswith((".h", ".inc")):
            short = re.sub(r"^(src|include)/", "", name)
            if not any(path == short or short.endswith("/" + path) for path in included) and pathlib.Path(name).name not in cmake:
                yield f"{name}: nobody includes it"
    if tree.build is not None:
        built = {str(pathlib.Path(entry["file"]).resolve()) for entry in compile_commands(tree)}
        if built:
            for name in tree.files:
                if name.endswith((".cc", ".c")) and str((tree.root / name).resolve()) not in built and pathlib.Path(name).name not in cmake \
                        and not name.startswith(("tests/golden/", "examples/")):
                    yield f"{name}: no target builds it"
    yield from unreachable_documents(tree)


def links_of(tree, name):
    """The files of the repository that a document links to; a link that leads nowhere is a fault."""
    good, broken = set(), []
    text = re.sub(r"(?s)```.*?```", "", tree.text(name))
    for match in re.finditer(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text):
        target = (match[1] or match[2]).split("#")[0]
        if not target or re.match(r"[a-z]+:", target):
            continue
        path = (tree.root / name).parent / target
        try:
            relative = str(path.resolve().relative_to(tree.root.resolve()))
        except ValueError:
            relative = None
        if relative is None or not path.exists():
            broken.append(target)
        elif path.is_dir():
            good |= {relative + "/README.md"} & set(tree.files) or {relative}
        else:
            good.add(relative)
    return good, broken


def unreachable_documents(tree):
    documents = [name for name in tree.files if name.endswith(".md")]
    reached, queue = set(), ["README.md"] if "README.md" in tree.files else []
    while queue:
        name = queue.pop()
        if name in reached:
            continue
        reached.add(name)
        if name.endswith(".md"):
            queue += sorted(links_of(tree, name)[0] - reached)
    for name in documents:
        for target in links_of(tree, name)[1]:
            yield f"{name}: the link to '{target}' leads nowhere"
        in_mechanism = re.match(r"src/mechanisms/\w+/README\.md$", name) is not None  # found through its folder
        if name not in reached and not in_mechanism and "README.md" in tree.files:
            yield f"{name}: no link from README.md or a document it links to reaches it"
    for name in tree.files:
        if name.startswith("docs/") and name.endswith((".svg", ".png")) and name not in reached:
            yield f"{name}: no document shows it"


def banned_words(tree):
    """The repository speaks of Assay, not of how, where or by whom it was written."""
    for name in tree.files:
        if name == "LICENSE":
            continue
        for pattern in BANNED_WORDS:
            if name.startswith("predictions/") and ("cla" + "ude" in pattern or "anth" + "ropic" in pattern):
                continue  # the ledger cites public events, links included, by the names of those they happened to
            for line, match in lines_matching(tree.text(name), pattern if re.match(r"\\b[A-Z]", pattern) else "(?i)" + pattern):
                yield f"{name}:{line}: '{match.group(0)}' has no place in the repository"


def banned_calls(tree):
    """Calls that overflow, throw, shell out or draw numbers that no seed repeats; flags that change arithmetic."""
    for name in tree.cpp():
        code = code_of(tree.text(name))
        for pattern, instead in BANNED_CALLS.items():
            if is_test(name) and any(word in pattern for word in ("system", "popen", "sto[a-z]", "ato[ifl]")):
                continue  # a test's own input is not hostile
            for line, match in lines_matching(code, pattern):
                yield f"{name}:{line}: '{match.group(0).strip()}': use {instead}"
    for name in tree.files:
        if name.endswith((".cmake", "CMakeLists.txt", "CMakePresets.json")) or name == "dev":
            text = re.sub(r"(?m)(^|\s)#.*$", "", tree.text(name))
            for pattern, why in BUILD_BANNED.items():
                for line, match in lines_matching(text, pattern):
                    yield f"{name}:{line}: '{match.group(0)}': {why}"


def fuzz_corpora(tree):
    """Every fuzz target has a committed corpus, and every corpus a target."""
    targets = {pathlib.Path(name).name[:-len("_fuzz.cc")] for name in tree.files if name.endswith("_fuzz.cc")}
    corpora = {name.split("/")[2] for name in tree.files if name.startswith("tests/fuzz/") and name.count("/") > 2}
    for name in sorted(targets - corpora):
        yield f"{name}_fuzz.cc: no corpus: put seeds into tests/fuzz/{name}/"
    for name in sorted(corpora - targets):
        yield f"tests/fuzz/{name}/: no {name}_fuzz.cc uses it"


def dangling_mentions(tree):
    """A document that a comment, a message or a use case sends the reader to exists."""
    for name in tree.files:
        if name.endswith("_selftest.py") or name in ("package-lock.json", "LICENSE"):
            continue
        for line, match in lines_matching(tree.text(name), r"(?m)^.*(?<![\w/])(docs/[\w/.-]+\.(?:md|json|svg)).*$"):
            if not (tree.root / match[1]).exists() and "NAME" not in match[1] and "ggml" not in match.group(0):
                yield f"{name}:{line}: there is no {match[1]}"


def schemas_in_use(tree):
    """Every schema of a JSON answer is held against a real answer by an end-to-end test."""
    tested = {match[1] for name in tree.files if name.endswith(".test") for _, match in lines_matching(tree.text(name), r"(?m)^json (\w+)$")}
    for name in tree.files:
        if name.endswith(".schema.json") and pathlib.Path(name).name[:-len(".schema.json")] not in tested:
            yield f"{name}: no end-to-end test validates an answer against it"


def packages(tree):
    """Whatever the build looks for, `./dev setup` installs."""
    for name in tree.files:
        if not name.endswith((".cmake", "CMakeLists.txt")):
            continue
        text = re.sub(r"(?m)#.*$", "", tree.text(name))
        for line, match in lines_matching(text, r"find_package\((\w+)[^)]*\)|find_library\(\w+ (\w+)[^)]*\)"):
            wanted = match[1] or match[2]
            if wanted not in PACKAGES:
                yield f"{name}:{line}: name the package of {wanted} in tests/tidy/tidy.py and in ./dev"
            elif "REQUIRED" in match.group(0) and PACKAGES[wanted] and PACKAGES[wanted] not in re.split(r"[\s()]+", tree.text("dev")):
                yield f"{name}:{line}: ./dev setup does not install {PACKAGES[wanted]}"


def generated_drift(tree):
    """Every generated document is what its command prints now."""
    import generated
    if tree.build is not None:
        yield from generated.drift(tree.root, tree.build)


RULES = [include_order, standard_headers, folder_list, weak_symbols, dead_files, banned_words, banned_calls, packages, dangling_mentions,
         schemas_in_use, fuzz_corpora, generated_drift]


def main(argv):
    parser = argparse.ArgumentParser(description="Checks the rules of the house.")
    parser.add_argument("--build", help="a build folder, for the rules about objects and targets")
    options = parser.parse_args(argv)
    tree = Tree(HERE.parents[1], options.build)
    broken = 0
    for rule in RULES:
        faults = sorted(set(rule(tree)))
        broken += bool(faults)
        for fault in faults:
            print(f"{rule.__name__}: {fault}")
    print(f"{len(RULES) - broken} passed, {broken} failed")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
