"""Audits a use case and simulates each of its candidates: the likely figures, and the ends of their intervals, must be the same numbers."""
import json
import re
import subprocess
import sys


def run(*arguments):
    answer = subprocess.run(["assay", *arguments, "--quiet", "--json"], capture_output=True, text=True)
    return json.loads(answer.stdout) if answer.stdout else answer.stderr.strip()


def is_number(value):
    return isinstance(value, (int, float))


usecase = sys.argv[1]
audit = run("audit", usecase, "--no-measure", "--no-flips")
rows = {row["id"]: row for row in audit["rows"]}
compared = 0
differences = []
for candidate in audit["candidates"]:
    ttft, tpot, kv = (rows[f"{candidate['letter']}.{metric}"] for metric in ("ttft_ms_p95", "tpot_ms_p95", "kv_memory_peak_bytes"))
    if ttft["basis"] == "refused":
        refused = run("simulate", "--usecase", usecase, "--candidate", candidate["id"])
        if not isinstance(refused, str) or not refused.endswith("assay: " + ttft["origin"]):
            differences.append(f"{candidate['id']} is refused by the audit: {ttft['origin']}\nand by simulate: {refused}")
        continue
    replicas = re.search(r"(\d+) replica\(s\)", ttft["origin"])[1]
    simulated = run("simulate", "--usecase", usecase, "--candidate", candidate["id"], "--replicas", replicas)
    pairs = []
    for row, times in ((ttft, simulated["ttft_ms"]), (tpot, simulated["tpot_ms"])):
        corners = [time for time in (times["p95"], *times["interval"]["p95"]) if time is not None] or [None]
        pairs.append((row["low"], min(corners)))
        if is_number(row["high"]):  # else a floor or a backlog, of which the audit tells the low end alone
            pairs += [(row["value"], times["p95"]), (row["high"], max(corners))]
    if is_number(kv["high"]):
        pairs.append((kv["value"], simulated["kv"]["peak_bytes"]))
    for one, other in pairs:
        compared += 1
        if other is None or abs(one - other) > 1e-9 * abs(one):
            differences.append(f"{candidate['id']}: audit {one}, simulate {other}")
print(f"compared {compared} numbers")
if differences:
    sys.exit("\n".join(differences))
