#!/usr/bin/env python3
"""Plants a violation of every rule of tidy.py and sees it caught, and sees clean trees pass: a rule that cannot fail is no rule."""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import generated  # noqa: E402
import performance  # noqa: E402
import tidy  # noqa: E402


class Planted(unittest.TestCase):
    """A small tree in a temporary folder."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        self.addCleanup(self.folder.cleanup)

    def plant(self, files):
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def faults(self, rule, files, build=None):
        self.plant(files)
        return list(rule(tidy.Tree(self.root, build)))

    def assert_caught(self, rule, files, words, build=None):
        found = self.faults(rule, files, build)
        self.assertTrue(any(words in fault for fault in found), found)

    def assert_clean(self, rule, files, build=None):
        self.assertEqual(self.faults(rule, files, build), [])

    # include order

    def test_a_folder_that_includes_one_below_it(self):
        self.assert_caught(tidy.include_order, {"src/core/a.cc": '#include "stats/b.h"\n'}, "core includes stats")

    def test_a_folder_that_includes_one_above_it_is_fine(self):
        self.assert_clean(tidy.include_order, {"src/stats/a.cc": '#include "core/b.h"\n#include <vector>\n#include "gtest/gtest.h"\n'})

    def test_a_mechanism_that_includes_another(self):
        self.assert_caught(tidy.include_order, {"src/mechanisms/gqa/a.cc": '#include "mechanisms/mla/b.h"\n'}, "gqa includes mechanism mla")

    def test_a_mechanism_that_includes_itself_or_the_shared_contract_is_fine(self):
        self.assert_clean(tidy.include_order, {"src/mechanisms/gqa/a.cc": '#include "mechanisms/gqa/b.h"\n#include "mechanisms/mechanism.h"\n'})

    def test_a_heavy_header_in_a_header(self):
        for header in ("<nlohmann/json.hpp>", "<CLI/CLI.hpp>", "<toml++/toml.h>", "<httplib.h>", "<sqlite3.h>"):
            self.assert_caught(tidy.include_order, {"src/cli/a.h": f"#include {header}\n"}, "heavy header")

    def test_the_light_json_header_in_a_header_is_fine(self):
        self.assert_clean(tidy.include_order, {"src/core/a.h": "#include <nlohmann/json_fwd.hpp>\n"})

    def test_a_command_line_parsed_outside_cli(self):
        self.assert_caught(tidy.include_order, {"src/study/a.cc": "#include <CLI/CLI.hpp>\n"}, "only src/cli")

    def test_an_include_relative_to_its_own_folder(self):
        self.assert_caught(tidy.include_order, {"src/core/a.cc": '#include "b.h"\n', "src/core/b.h": ""}, "written from src/")

    def test_a_standard_name_without_its_header(self):
        self.assert_caught(tidy.standard_headers, {"src/core/a.cc": "#include <vector>\nvoid F() { std::copy_n(a, 1, b); }\n"},
                           "src/core/a.cc:2: std::copy_n needs #include <algorithm>")

    def test_a_standard_header_that_only_a_library_header_drags_in(self):
        self.assert_caught(tidy.standard_headers, {"src/core/a.cc": "#include <nlohmann/json.hpp>\nstd::optional<int> x;\n"}, "<optional>")

    def test_a_standard_header_through_the_projects_own_header_is_fine(self):
        self.assert_clean(tidy.standard_headers, {"src/core/a.h": "#include <vector>\n", "src/core/a.cc": '#include "core/a.h"\nstd::vector<int> x;  // std::map\n'})

    def test_a_library_name_without_its_header(self):
        self.assert_caught(tidy.standard_headers, {"src/core/a.cc": "auto s = fmt::format(x);\n"}, "src/core/a.cc:1: fmt::format needs a header of <fmt/>")

    def test_a_folder_the_house_does_not_know(self):
        self.assert_caught(tidy.include_order, {"src/misc/a.cc": '#include "core/b.h"\n'}, "not in the order")

    def test_folders_listed_out_of_order(self):
        self.assert_caught(tidy.folder_list, {"src/CMakeLists.txt": "assay_folder(stats)\nassay_folder(core)\n"}, "order of the house")
        self.assert_clean(tidy.folder_list, {"src/CMakeLists.txt": "assay_folder(core)\nassay_folder(stats DEPENDS core)\n"})

    # weak symbols

    def build_backend(self, source):
        """A build folder that holds one object compiled from `source` as an AVX2 backend."""
        build = self.root / "build"
        build.mkdir()
        self.plant({"src/kernels/tile_avx2.cc": source})
        compiler = shutil.which("g++") or shutil.which("c++")
        subprocess.run([compiler, "-std=c++20", "-O0", "-c", self.root / "src/kernels/tile_avx2.cc", "-o", build / "tile_avx2.cc.o"], check=True)
        (build / "compile_commands.json").write_text(json.dumps([{
            "directory": str(build), "command": "g++ -O2 -mavx2 -o tile_avx2.cc.o -c tile_avx2.cc",
            "file": str(self.root / "src/kernels/tile_avx2.cc")}]))
        return build

    def test_a_weak_symbol_outside_the_backends_namespace(self):
        build = self.build_backend("inline int Shared() { return 1; }\nnamespace assay::avx2 { int Use() { return Shared(); } }\n")
        self.assert_caught(tidy.weak_symbols, {}, "Shared()", build)

    def test_a_weak_symbol_inside_the_backends_namespace_is_fine(self):
        build = self.build_backend("namespace assay::avx2 { inline int Own() { return 1; }\nint Use() { return Own(); } }\n")
        self.assert_clean(tidy.weak_symbols, {}, build)

    def test_a_backend_that_was_not_built_for_its_instruction_set(self):
        build = self.root / "build"
        build.mkdir()
        (build / "compile_commands.json").write_text("[]")
        self.assert_caught(tidy.weak_symbols, {"src/kernels/tile_avx2.cc": ""}, "no object of a wide backend", build)

    def test_a_wide_instruction_set_outside_a_backends_file(self):
        build = self.root / "build"
        build.mkdir()
        (build / "compile_commands.json").write_text(json.dumps([{"command": "g++ -mavx2 -o a.o -c x", "file": "/x/src/stats/a.cc"}]))
        self.assert_caught(tidy.weak_symbols, {}, "named after its backend", build)

    # dead files

    def test_a_header_nobody_includes(self):
        self.assert_caught(tidy.dead_files, {"src/core/lonely.h": "", "src/core/a.cc": ""}, "lonely.h: nobody includes it")

    def test_a_source_nobody_builds(self):
        build = self.root / "build"
        build.mkdir()
        (build / "compile_commands.json").write_text(json.dumps([{"command": "", "file": str(self.root / "src/core/a.cc")}]))
        self.assert_caught(tidy.dead_files, {"src/core/a.cc": "", "src/core/b.cc": ""}, "b.cc: no target builds it", build)
        self.assertFalse(any("a.cc" in fault for fault in tidy.dead_files(tidy.Tree(self.root, build))))

    def test_a_document_no_link_reaches(self):
        files = {"README.md": "[a](docs/a.md)", "docs/a.md": "[b](b.md)", "docs/b.md": "", "docs/lost.md": ""}
        self.assertEqual(self.faults(tidy.dead_files, files), ["docs/lost.md: no link from README.md or a document it links to reaches it"])

    def test_a_link_that_leads_nowhere(self):
        self.assert_caught(tidy.dead_files, {"README.md": "[a](docs/none.md)"}, "leads nowhere")

    def test_a_picture_nobody_shows(self):
        self.assert_caught(tidy.dead_files, {"README.md": "", "docs/old.svg": ""}, "no document shows it")

    # words and calls

    def test_words_about_how_it_was_written(self):
        for text in ("see /wo" + "rk/main", "as the bri" + "ef says", "in this sess" + "ion we", "run land" + ".sh", "a helper sess" + "ion",
                     "this sit" + "ting ends", "https://nex" + "us.example/repo", "in my work" + "tree"):
            self.assert_caught(tidy.banned_words, {"docs/a.md": text + "\n"}, "has no place")

    def test_ordinary_words_are_fine(self):
        self.assert_clean(tidy.banned_words, {"docs/a.md": "In brief: a chat session shares a prefix; the working set; helpers below; network/x.\n"})

    def test_each_banned_call(self):
        for call in ("strcpy(a, b);", "sprintf(a, b);", "std::rand();", "rand();", "system(cmd);", "std::system(cmd);", "gets(a);", "std::stoi(s);", "atoi(s);",
                     "std::mt19937 g;", "popen(c, m);", "using namespace std;"):
            self.assert_caught(tidy.banned_calls, {"src/core/a.cc": "void F() { " + call + " }\n"}, "use ")

    def test_a_banned_call_in_a_comment_a_string_or_a_longer_name_is_fine(self):
        text = '// never strcpy(a, b)\nconst char* s = "system(x)";\nvoid file_system(int);\nvoid G() { operand(1); x.system(2); snprintf(a, 1, b); }\n'
        self.assert_clean(tidy.banned_calls, {"src/core/a.cc": text})

    def test_a_test_may_call_the_shell_but_not_the_unseeded_generator(self):
        self.assert_clean(tidy.banned_calls, {"src/core/a_test.cc": "void F() { system(c); }\n"})
        self.assert_caught(tidy.banned_calls, {"src/core/a_test.cc": "void F() { std::rand(); }\n"}, "seed")

    def test_a_flag_that_changes_arithmetic(self):
        self.assert_caught(tidy.banned_calls, {"CMakeLists.txt": "add_compile_options(-ffast-math)\n"}, "-ffast-math")
        self.assert_clean(tidy.banned_calls, {"CMakeLists.txt": "# never -ffast-math\n"})

    def test_a_library_that_setup_does_not_install(self):
        self.assert_caught(tidy.packages, {"CMakeLists.txt": "find_package(fmt REQUIRED)\n", "dev": "required=(g++)\n"}, "libfmt-dev")
        self.assert_caught(tidy.packages, {"CMakeLists.txt": "find_package(Eigen3 REQUIRED)\n"}, "Eigen3")
        self.assert_clean(tidy.packages, {"CMakeLists.txt": "find_package(fmt REQUIRED)\n", "dev": "required=(g++ libfmt-dev)\n"})

    def test_a_mention_of_a_document_that_is_not_there(self):
        self.assert_caught(tidy.dangling_mentions, {"src/core/a.h": "// see docs/none.md\n"}, "there is no docs/none.md")
        self.assert_clean(tidy.dangling_mentions, {"src/core/a.h": "// see docs/a.md\n", "docs/a.md": ""})

    def test_a_schema_that_no_test_uses(self):
        self.assert_caught(tidy.schemas_in_use, {"docs/schemas/a.schema.json": "{}"}, "no end-to-end test")
        self.assert_clean(tidy.schemas_in_use, {"tests/e2e/x.test": "$ assay a --json\njson a\n"})

    # corpora and generated documents

    def test_a_fuzz_target_without_corpus_and_a_corpus_without_target(self):
        self.assert_caught(tidy.fuzz_corpora, {"src/formats/csv_fuzz.cc": ""}, "no corpus")
        self.assert_caught(tidy.fuzz_corpora, {"tests/fuzz/gone/seed": ""}, "no gone_fuzz.cc")

    def program(self, text):
        (self.root / "assay").write_text(f"#!/bin/sh\ncat <<'X'\n{text}\nX\n")
        (self.root / "assay").chmod(0o755)
        return self.root

    def test_a_generated_document_that_drifted(self):
        entry = generated.Generated("a.md", ["x"])
        self.plant({"a.md": "old\n"})
        self.assertEqual(len(list(generated.drift(self.root, self.program("new"), [entry]))), 1)
        self.assertEqual(list(generated.drift(self.root, self.program("old"), [entry])), [])

    def test_a_generated_document_that_is_absent(self):
        self.assertIn("absent", next(generated.drift(self.root, self.program("x"), [generated.Generated("none.md", ["x"])])))

    def test_a_measured_block_may_differ_in_figures_but_not_in_words(self):
        entry = generated.Generated("a.md", ["x"], block="out", compare="measured")
        self.plant({"a.md": "top\n<!-- generated: out -->\n```\ntook 1.25 ms\n```\n<!-- end -->\n"})
        self.assertEqual(list(generated.drift(self.root, self.program("took 3.5 ms"), [entry])), [])
        self.assertEqual(len(list(generated.drift(self.root, self.program("wasted 3.5 ms"), [entry]))), 1)

    def test_help_may_be_laid_out_anew_but_not_lose_an_option(self):
        entry = generated.Generated("a.md", ["x"], compare="names")
        self.plant({"a.md": "## assay x\n  --json   one object\n"})
        self.assertEqual(list(generated.drift(self.root, self.program("## assay x\nOPTIONS:\n --json  one object"), [entry])), [])
        self.assertEqual(len(list(generated.drift(self.root, self.program("## assay x\n --quiet"), [entry]))), 1)

    def test_the_help_of_a_verbs_commands_is_in_the_document(self):
        pages = {(): "Subcommands:\n  db   the store", ("db",): "Subcommands:\n  export   rows", ("db", "export"): "--metric TEXT"}
        document = generated.all_help(lambda arguments: pages[tuple(arguments[:-1])])
        self.assertIn("## assay db export\n\n```\n--metric TEXT\n```\n", document)

    def test_an_audit_may_say_other_figures_but_not_lose_a_part(self):
        entry = generated.Generated("a.md", ["x"], compare="heads")
        self.plant({"a.md": "Keep A: it holds 5\nTraffic  3\n"})
        self.assertEqual(list(generated.drift(self.root, self.program("Keep A: it holds 7 of 9\nTraffic  4"), [entry])), [])
        self.assertEqual(len(list(generated.drift(self.root, self.program("Switch to B: it holds 7\nTraffic  4"), [entry]))), 1)

    def test_the_performance_document_shows_shares_peers_and_refusals_of_the_stored_run(self):
        peer = {"name": "p", "implementation": "PyTorch 1: SDPA", "refusal": "", "median_ms": 12.5, "ratio": 4.167, "ratio_low": 4, "ratio_high": "inf", "row_error": 2e-4}
        row = {"name": "decode_x", "family": "decode", "threads": 2, "rounds": 15, "median_ms": 3.0, "rate": 9.5e9, "rate_unit": "B/s", "ceiling": 1e10, "ceiling_kind": "l3_read",
               "share_of_ceiling": 0.95, "share_q1": 0.94, "share_q3": 0.961, "flags": "noisy", "row_error": 1e-4,
               "comparisons": [peer, {"name": "o", "implementation": "", "refusal": "a | b"}]}
        text = performance.render({"machine": "M", "date": "2026-11-25T00:00:00Z", "seed": 7, "rows": [row], "refused": [{"name": "mla", "reason": "no memory"}], "stopped": False})
        for part in ("on M, 2026-11-25: 2 threads, 15 interleaved rounds a row, seed 7", "## Decode", "| `decode_x` (noisy) | 3.00 | 9.50 GB/s | 10.0 GB/s, l3_read | 95.0 % (94.0 to 96.1) | 1e-04 |",
                     "p: 4.17 x (4.00 to open), 12.5 ms, error 2e-04<br>o: refused, a \\| b |", "- PyTorch 1: SDPA", "- `mla`: no memory"):
            self.assertIn(part, text)

    def test_writing_a_block_leaves_the_rest_alone(self):
        entry = generated.Generated("a.md", ["x"], block="out")
        self.plant({"a.md": "top\n<!-- generated: out -->\nold\n<!-- end -->\nbottom\n"})
        generated.write(self.root, entry, "new\n")
        self.assertEqual((self.root / "a.md").read_text(), "top\n<!-- generated: out -->\nnew\n<!-- end -->\nbottom\n")


if __name__ == "__main__":
    result = unittest.main(exit=False, verbosity=0).result
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad} passed, {bad} failed")
    sys.exit(1 if bad else 0)
