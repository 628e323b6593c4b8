// Draws the audit that stands in this page as JSON. Pictures are redrawn when the theme changes.
const audit = JSON.parse(document.getElementById("audit").textContent);
const rows = new Map(audit.rows.map((row) => [row.id, row]));
letters.push(...audit.candidates.map((candidate) => candidate.letter));
const assessmentOf = new Map(audit.advice.assessments.map((a) => [a.letter, a]));

// A cell: the value, its interval, and its basis; or visibly blank with the reason. The unit is left to a column's head that names it.
function cell(q, label, id, unitInHead = false) {
  if (!q) return el("td", { "data-label": label, class: "refused", title: "not part of this audit" }, "");
  const how = `${q.origin}${id ? `\nassay explain ${id}` : ""}`;
  if (q.value === null || q.basis === "refused") {
    return el("td", { "data-label": label, class: "refused", title: how, tabindex: "0", "aria-label": `refused: ${q.origin}` }, "refused");
  }
  return el("td", { "data-label": label, class: "number", title: how },
    el("span", {}, unitInHead ? withoutUnit(q) : withUnit(q), el("span", { class: "basis" }, [q.basis, ...(q.flags ? q.flags.split(",") : [])].join(", ")), el("span", { class: "range" }, rangeText(q))));
}

// ---- Above the fold ----

function drawHead() {
  const head = page.querySelector("header");
  const advice = audit.advice;
  head.append(el("p", { class: "counter" }, el("strong", {}, "Against it: "), advice.counter_argument));
  if (advice.unknown.length) {
    head.append(el("details", {}, el("summary", {}, `Not known: ${advice.unknown.length} ${advice.unknown.length === 1 ? "thing" : "things"} that could matter`),
      el("ul", {}, ...advice.unknown.map((text) => el("li", {}, text)))));
  }
  if (advice.next_command) head.append(el("p", {}, "Next: ", el("code", {}, advice.next_command)));
  if (audit.notes.length) head.append(el("details", {}, el("summary", {}, `Taken as: ${audit.notes.length} ${audit.notes.length === 1 ? "note" : "notes"} on what was assumed or left out`), el("ul", {}, ...audit.notes.map((note) => el("li", {}, note)))));
  head.append(el("p", { class: "soft" }, `${audit.date} · Assay ${audit.version} · ${audit.machine} · seed ${audit.seed}`));
}

function drawTimeBars() {
  const bars = [["decode", "step.attention_share_decode"], ["prefill", "step.attention_share_prefill"]].filter(([, id]) => rows.has(id));
  if (!bars.length) return;
  const pair = el("div", { class: "bars" });
  const node = section("Where the time goes today", pair);
  for (const [phase, id] of bars) {
    const q = rows.get(id);
    if (q.value === null) { pair.append(el("p", {}, `A ${phase} step: refused. ${q.origin}`)); continue; }
    const low = 100 * real(q.low), high = 100 * real(q.high);
    pair.append(el("div", {}, el("h3", {}, `A ${phase} step of the baseline: attention ${low.toFixed(0)} to ${high.toFixed(0)} % `, el("span", { class: "basis" }, q.basis)),
      el("div", { class: "bar", role: "img", "aria-label": `attention takes ${low.toFixed(0)} to ${high.toFixed(0)} percent of a ${phase} step`, title: q.origin },
        el("span", { class: "attention", style: `width:${low}%` }, low > 12 ? "attention" : ""),
        el("span", { class: "spread", style: `width:${high - low}%` }, ""),
        el("span", { class: "rest", style: `width:${100 - high}%` }, "everything else"))));
  }
  const bound = rows.get("step.amdahl_bound");
  if (bound && bound.value !== null) {
    node.append(el("p", {}, `Even free attention would cut time per output token by at most ${(100 * real(bound.high)).toFixed(0)} % at this load.`));
  }
}

function drawCandidates() {
  const columns = [
    ["SLO headroom", "slo_headroom"], ["Max rate a replica", "max_rate_per_second"], ["Replicas", "replica_count"], ["TTFT p95", "ttft_ms_p95"], ["TPOT p95", "tpot_ms_p95"], ["Hours", "batch_hours"], ["Per document", "cost_usd_per_document"], ["Cost", "cost_usd_per_month"],
    ["KV per sequence", "kv_bytes_per_sequence"], ["Quality loss", "quality_loss_points"], ["Switching cost", "switching_cost_usd"], ["Break-even", "break_even_months"],
  ].filter(([, metric]) => letters.some((letter) => rows.has(`${letter}.${metric}`)));
  const headUnit = (metric) => ({ ratio: "x", B: "", replicas: "", "": "" })[unitOf(metric)] ?? unitOf(metric);
  const unitOf = (metric) => rows.get(letters.map((letter) => `${letter}.${metric}`).find((id) => rows.has(id))).unit;
  const table = el("table", { class: "stack" },
    el("caption", {}, "Latencies and costs are those of the replicas beside them: as many as hold the traffic at the pessimistic end. Below each number: its basis and its interval. Hatched cells are refused, with the reason on hover or focus."),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Candidate"), el("th", { scope: "col" }, "Standing"),
      ...columns.map(([label, metric]) => el("th", { scope: "col", class: "number" }, label, el("span", { class: "unit" }, headUnit(metric)))), el("th", { scope: "col" }, "What breaks"))));
  const body = el("tbody");
  for (const candidate of audit.candidates) {
    const assessment = assessmentOf.get(candidate.letter);
    const risks = [...new Set(candidate.risks.map((risk) => risk.feature.replaceAll("_", " ")))].join(", ");
    body.append(el("tr", { class: candidate.letter === audit.advice.letter ? "winner" : "" },
      el("th", { scope: "row" }, el("span", {}, `${candidate.letter}  ${candidate.id}`,
        el("span", { class: "range soft", style: "display:block;font-weight:400;font-size:.8rem" }, `${candidate.stack}; cache ${candidate.kv}; ${candidate.implementation}; ${candidate.availability.replace("_", "-")}`))),
      el("td", { "data-label": "Standing" }, el("span", { class: `standing-${assessment.standing.split(" ")[0]}`, title: assessment.reason }, assessment.standing)),
      ...columns.map(([label, metric]) => cell(rows.get(`${candidate.letter}.${metric}`), headUnit(metric) ? `${label}, ${headUnit(metric)}` : label, `${candidate.letter}.${metric}`, true)),
      el("td", { "data-label": "What breaks" }, risks || "nothing known")));
  }
  table.append(body);
  section("Candidates", el("div", { class: "scroll", id: "candidates", tabindex: "0" }, table),
    el("details", {}, el("summary", {}, "Why each stands where it does"),
      el("ul", {}, ...audit.candidates.map((c) => el("li", {}, el("strong", {}, `${c.letter} ${assessmentOf.get(c.letter).standing}: `), assessmentOf.get(c.letter).reason)))));
}

// ---- Pictures of the audit ----

function drawCrossover() {
  const map = audit.crossover;
  const node = el("figure", {}, el("h3", {}, "Crossover map: the fastest decode step by context and concurrency"));
  if (map.refused || !map.cells.length) { node.append(el("p", { class: "soft" }, `Refused: ${map.refused || "no data"}`)); return node; }
  const columns = map.context_tokens.length;
  const data = map.cells.map((c, i) => ({ ...c, context: map.context_tokens[i % columns], concurrency: map.concurrency[Math.floor(i / columns)] }));
  const winners = [...new Set(data.map((d) => d.winner).filter(Boolean))].sort();
  const nameOf = (letter) => `${letter} ${audit.candidates[letters.indexOf(letter)].id}`;
  const svg = Plot.plot({
    width: 620, height: 340, marginLeft: 64, marginBottom: 44, style: { fontSize: "12px" },
    x: { type: "band", label: "Context (tokens)", tickFormat: (x) => (x >= 1024 ? `${x / 1024}k` : String(x)), padding: 0.06 }, y: { type: "band", reverse: true, label: "Sequences decoded together", padding: 0.06 },
    marks: [
      Plot.cell(data, { x: "context", y: "concurrency", fill: (d) => (d.winner ? colourOf(d.winner, 0) : "transparent"), fillOpacity: (d) => (d.decided ? 0.8 : 0.35),
        title: (d) => (d.winner ? `${nameOf(d.winner)}, ${(100 * real(d.margin)).toFixed(0)} % ahead${d.decided ? "" : ", intervals overlap"}; ${(100 * d.traffic_share).toFixed(1)} % of decoded tokens` : "no candidate has a time here") }),
      Plot.dot(data.filter((d) => d.traffic_share > 0.001), { x: "context", y: "concurrency", r: (d) => 14 * Math.sqrt(d.traffic_share), fill: "none", stroke: "currentColor", strokeWidth: 1.75 }),
    ],
  });
  node.append(legend(winners.map((letter) => [nameOf(letter), colourOf(letter, 0)])), svg,
    el("figcaption", {}, "Strong colour: the intervals of the two fastest do not overlap; faint: they do; empty: no time is known. Candidates with bounds instead of times are left out. Rings: where your decoded tokens are, by area."));
  return node;
}

let pictures;
function drawPictures() {
  const grid = el("div", { class: "grid" }, drawCrossover(), ...audit.figures.map(drawFigure));
  if (pictures) pictures.replaceWith(grid);
  else section("Pictures", grid);
  pictures = grid;
}

// ---- What would change the advice, claims, provenance ----

function drawFlips() {
  const node = section("What would flip the advice");
  if (!audit.flips.length) { node.append(el("p", {}, audit.flips_refused || "Nothing within the searched ranges of rate, prices, prompt length and assumptions.")); return; }
  node.append(el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ...["Factor", "Today", "Flips at", "Advice there", "Command"].map((label) => el("th", { scope: "col" }, label)))),
    el("tbody", {}, ...audit.flips.map((flip) => el("tr", {}, el("th", { scope: "row" }, flip.factor), el("td", { class: "number" }, digits(flip.today, "")),
      el("td", { class: "number" }, digits(flip.at, "")), el("td", {}, flip.advice_there), el("td", {}, el("code", {}, flip.command))))))));
}

function drawClaims() {
  if (!audit.claims.length) return;
  const verdict = (text) => text.replaceAll("_", " ");
  const table = (claims) => el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ...["Claim", "At its origin", "For you"].map((label) => el("th", { scope: "col" }, label)))),
    el("tbody", {}, ...claims.map((claim) => el("tr", {},
      el("th", { scope: "row", style: "font-weight:400;max-width:26rem" }, el("strong", {}, claim.id), ` ${claim.statement} `, claim.source_url.startsWith("http") ? el("a", { href: claim.source_url }, claim.date) : claim.date,
        claim.expired ? el("p", {}, el("strong", {}, "Expired: "), claim.expired) : null,
        claim.evidence_against.length ? el("details", {}, el("summary", {}, "Evidence against"), el("ul", {}, ...claim.evidence_against.map((e) => el("li", {}, e)))) : null),
      el("td", {}, el("strong", {}, verdict(claim.at_origin.verdict)), el("span", { class: "basis" }, claim.basis), el("p", { class: "soft" }, claim.at_origin.why)),
      el("td", {}, el("strong", {}, verdict(claim.for_you.verdict)), el("p", { class: "soft" }, claim.for_you.why)))))));
  const node = section("Claims about these mechanisms");
  const near = audit.claims.filter((claim) => claim.bears_on_use_case), far = audit.claims.filter((claim) => !claim.bears_on_use_case);
  if (near.length) node.append(table(near)); else node.append(el("p", {}, "None of the claims in the library bears on this use case."));
  if (far.length) node.append(el("details", {}, el("summary", {}, `${far.length} claims outside your domain`), table(far)));
}

function drawProbes() {
  if (!audit.probes.length) return;
  const found = audit.probes.filter((p) => p.outcome === "finding"), skipped = audit.probes.filter((p) => p.outcome === "not_applicable");
  const node = section("Numerics at the edges, on our own kernels");
  node.append(el("p", {}, `${audit.probes.length - found.length - skipped.length} probe runs passed, ${found.length} found something, ${skipped.length} do not apply.`));
  const list = (title, probes) => el("details", {}, el("summary", {}, title), el("ul", {}, ...probes.map((p) => el("li", {}, `${p.probe} ${p.subject}: ${p.title}${p.detail ? `. ${p.detail}` : ""}`))));
  if (found.length) node.append(list("Findings", found));
  node.append(list("Passed", audit.probes.filter((p) => p.outcome === "passed")));
  if (skipped.length) node.append(list("Not applicable", skipped));
}

function drawCards() {
  const node = section("Evidence cards");
  for (const c of audit.candidates) {
    const own = audit.rows.filter((row) => row.scope === c.letter);
    node.append(el("details", {}, el("summary", {}, `${c.letter} ${c.id}: ${own.filter((r) => r.value !== null).length} numbers, ${own.filter((r) => r.value === null).length} refused`),
      el("p", {}, `${c.stack}; cache ${c.kv}; ${c.implementation}; ${c.availability.replace("_", "-")}`),
      c.unreported.length ? el("p", {}, "Knobs papers leave out, as taken here: ", el("code", {}, c.unreported.join(", "))) : null,
      c.risks.length ? el("ul", {}, ...c.risks.map((r) => el("li", {}, `${r.feature.replaceAll("_", " ")}: ${r.what} `, r.url.startsWith("http") ? el("a", { href: r.url }, r.date) : r.date))) : null,
      rowTable(own)));
  }
}

function rowTable(list) {
  return el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ...["Id", "Value", "Origin", "Command"].map((label) => el("th", { scope: "col" }, label)))),
    el("tbody", {}, ...list.map((row) => el("tr", { "data-id": row.id }, el("th", { scope: "row", style: "font-weight:400" }, el("code", {}, row.id)),
      cell(row, "Value", row.id), el("td", {}, row.origin), el("td", {}, el("code", {}, row.command)))))));
}

function drawProvenance() {
  const filter = el("input", { class: "filter", type: "search", placeholder: "filter by id, origin or basis", "aria-label": "Filter the numbers" });
  const table = rowTable(audit.rows);
  filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase();
    for (const line of table.querySelectorAll("tbody tr")) line.hidden = !line.textContent.toLowerCase().includes(wanted);
  });
  section("Every number, its origin and its command", el("p", {}, "The whole audit: ", el("code", {}, audit.command)),
    el("details", {}, el("summary", {}, `${audit.rows.length} numbers`), filter, table));
}

drawHead();
drawTimeBars();
drawCandidates();
drawPictures();
drawFlips();
drawClaims();
drawProbes();
drawCards();
drawProvenance();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawPictures);
