#!/usr/bin/env python3
"""Writes store_v1.db: a store as version 1 of the schema left it, for the migration test.

It carries its own copy of the version 1 tables on purpose: files in the field do not change when the program does.
Usage: make_store_v1.py OUTPUT
"""
import hashlib
import os
import sqlite3
import sys

SCHEMA = """
CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_utc TEXT NOT NULL);
CREATE TABLE metrics (
  name TEXT PRIMARY KEY, unit TEXT NOT NULL, direction INTEGER NOT NULL, aggregation INTEGER NOT NULL, meaning TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE runs (
  id TEXT PRIMARY KEY, command_line TEXT NOT NULL, use_case_hash TEXT NOT NULL, plan_hash TEXT NOT NULL,
  program_version TEXT NOT NULL, machine_json TEXT NOT NULL, created_utc TEXT NOT NULL, ended_utc TEXT,
  status TEXT NOT NULL CHECK (status IN ('running', 'complete', 'stopped', 'failed'))
) WITHOUT ROWID;
CREATE TABLE cells (
  key TEXT PRIMARY KEY, mechanism TEXT NOT NULL, parameters TEXT NOT NULL, implementation TEXT NOT NULL,
  revision INTEGER NOT NULL, kernel_hash TEXT NOT NULL, factors_json TEXT NOT NULL, machine TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE artifacts (
  hash TEXT PRIMARY KEY CHECK (length(hash) = 64), media_type TEXT NOT NULL, created_utc TEXT NOT NULL, bytes BLOB NOT NULL
);
CREATE TABLE measurements (
  id INTEGER PRIMARY KEY, run_id TEXT NOT NULL REFERENCES runs(id), cell_key TEXT NOT NULL REFERENCES cells(key),
  probe TEXT NOT NULL, metric TEXT NOT NULL REFERENCES metrics(name),
  value REAL, low REAL, high REAL, unit TEXT NOT NULL, basis INTEGER NOT NULL, origin TEXT NOT NULL,
  sample_count INTEGER NOT NULL, samples_artifact TEXT REFERENCES artifacts(hash), command TEXT NOT NULL,
  flags TEXT NOT NULL, seed INTEGER NOT NULL, provenance_json TEXT NOT NULL, created_utc TEXT NOT NULL,
  UNIQUE (run_id, cell_key, probe, metric)
);
CREATE INDEX measurements_by_cell ON measurements (cell_key, probe, metric);
CREATE INDEX measurements_by_metric ON measurements (metric);
CREATE TABLE work_done (
  run_id TEXT NOT NULL REFERENCES runs(id), work_key TEXT NOT NULL, label TEXT NOT NULL, outcome TEXT NOT NULL,
  row_count INTEGER NOT NULL, finished_utc TEXT NOT NULL, PRIMARY KEY (run_id, work_key)
) WITHOUT ROWID;
CREATE TABLE rebuttals (
  id TEXT PRIMARY KEY, claim_id TEXT NOT NULL, premise TEXT NOT NULL, artifact TEXT NOT NULL REFERENCES artifacts(hash),
  created_utc TEXT NOT NULL
) WITHOUT ROWID;
"""

METRICS = [
    ("decode_time_ms", "ms", 1, 0, "Time of one decode call of the attention kernel."),
    ("kv_bytes_per_token", "B", 1, 6, "Bytes a token adds to the cache, all layers, scales and metadata included."),
]


def cell_key(subject, factors, machine):
    """The digest of measurement.cc."""
    mechanism, parameters, implementation, revision, kernel_hash = subject
    fields = [mechanism, parameters, implementation, str(revision), kernel_hash]
    for name, value in sorted(factors.items()):
        fields += [name, value]
    fields.append(machine)
    text = "cell/1\n" + "".join(f"{len(f.encode())}:{f}\n" for f in fields)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def main(path):
    if os.path.exists(path):
        os.remove(path)
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(SCHEMA)
    db.execute("INSERT INTO schema_version VALUES (1, '2026-11-24T12:00:00Z')")
    db.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?)", METRICS)
    db.execute("INSERT INTO runs VALUES ('20261124T120000Z-00000001', 'assay audit a.toml', 'abc', 'def', '0.1.0', '{\"cpu\":\"x\"}',"
               " '2026-11-24T12:00:00Z', '2026-11-24T12:01:00Z', 'complete')")
    db.execute("INSERT INTO runs VALUES ('20261124T130000Z-00000002', 'assay bench', '', '', '0.1.0', '{}',"
               " '2026-11-24T13:00:00Z', NULL, 'running')")
    samples = b"[1.5,1.25,2.0]"
    artifact = hashlib.sha256(samples).hexdigest()
    db.execute("INSERT INTO artifacts VALUES (?, 'application/json', '2026-11-24T12:00:30Z', ?)", (artifact, samples))
    measured = ("gqa", "head_dim=128,kv_heads=8", "assay/avx2", 1, "k1")
    counted = ("mla", "latent=512,rope=64", "", 2, "")
    refused = ("quest", "page=64", "h100_sxm/vllm/0.24.0", 1, "")
    factors = {"context_tokens": "4096", "batch": "1"}
    cells = [(measured, factors, "m1"), (counted, {}, ""), (refused, factors, "m1")]
    keys = []
    for subject, cell_factors, machine in cells:
        key = cell_key(subject, cell_factors, machine)
        keys.append(key)
        text = "{" + ",".join(f'"{n}":"{v}"' for n, v in sorted(cell_factors.items())) + "}"
        db.execute("INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (key, *subject, text, machine))
    insert = "INSERT INTO measurements VALUES (NULL,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,'2026-11-24T12:00:30Z')"
    run = "20261124T120000Z-00000001"
    db.execute(insert, (run, keys[0], "cost", "decode_time_ms", 1.5, 1.25, 2.0, "ms", 1, "probe cost", 3, artifact,
                        "assay bench", "noisy", -1, "{}"))
    db.execute(insert, (run, keys[1], "arithmetic", "kv_bytes_per_token", 70272.0, 70272.0, 70272.0, "B", 0, "61*576*2", 0, None,
                        "assay audit a.toml", "", 7, '{"note":"a"}'))
    db.execute(insert, (run, keys[2], "cost", "decode_time_ms", 0.0, 0.0, 0.0, "ms", 7, "no rows for this kernel", 0, None, "", "",
                        0, ""))
    db.execute(insert, (run, keys[0], "bound", "decode_time_ms", 1.0, 1.0, float("inf"), "ms", 5, "bytes", 0, None, "", "", 0, ""))
    db.execute("INSERT INTO work_done VALUES (?, 'w1', 'gqa at 4096', 'ok', 1, '2026-11-24T12:00:30Z')", (run,))
    db.execute("INSERT INTO rebuttals VALUES ('R1', 'MLA-01', 'precision_mismatch', ?, '2026-11-24T12:00:40Z')", (artifact,))
    db.execute("PRAGMA user_version = 1")
    db.execute(f"PRAGMA application_id = {0x41535359}")
    db.execute("PRAGMA journal_mode = WAL")
    db.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
