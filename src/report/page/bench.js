// Draws the bench that stands in this page as JSON: a table and a roofline for each family of kernels.
const bench = JSON.parse(document.getElementById("bench").textContent);

const giga = (x, unit) => `${digits(x / 1e9, "")} G${unit}`;
const percent = (x) => `${(100 * x).toFixed(1)} %`;
const scientific = (x) => x.toExponential(1);
const td = (label, text, range, title) => el("td", { "data-label": label, class: "number", title }, el("span", {}, text, el("span", { class: "range" }, range ?? "")));

function peerLines(row) {
  return row.comparisons.map((peer) => {
    const name = el("th", { scope: "row", class: "peer" }, peer.name, el("span", { class: "range soft" }, peer.implementation));
    if (peer.refusal) return el("tr", {}, name, el("td", { colspan: "6", class: "refused" }, `refused: ${peer.refusal}`));
    return el("tr", {}, name, td("Time", `${digits(peer.median_ms, "")} ms`), td("Beside ours", `${digits(peer.ratio, "")} x`, `${digits(peer.ratio_low, "")} to ${digits(peer.ratio_high, "")}`),
      el("td"), el("td"), td("Row error", scientific(peer.row_error)), el("td"));
  });
}

function rowLines(row) {
  return [el("tr", {}, el("th", { scope: "row" }, row.name, el("span", { class: "range soft" }, row.shape)),
    td("Time", `${digits(row.median_ms, "")} ms`, `${digits(row.ms_q1, "")} to ${digits(row.ms_q3, "")}${row.pack_ms ? `; packed once in ${digits(row.pack_ms, "")}` : ""}`), td("Rate", giga(row.rate, row.rate_unit)),
    td("Ceiling", giga(row.ceiling, row.rate_unit), row.ceiling_kind, row.ceiling_instruction), td("Share", percent(row.share_of_ceiling), `${percent(row.share_q1)} to ${percent(row.share_q3)}`),
    td("Row error", scientific(row.row_error)), el("td", { "data-label": "Ran" }, [row.implementation, ...(row.flags ? row.flags.split(",") : [])].join(", "))), ...peerLines(row)];
}

const holders = [];
function drawFamily(family) {
  const list = bench.rows.filter((row) => row.family === family);
  const holder = el("div");
  section(family[0].toUpperCase() + family.slice(1),
    el("div", { class: "scroll", tabindex: "0" }, el("table", {},
      el("caption", {}, "Medians over the rounds, with quartiles below time and share. A peer's time stands over ours round by round, its median with a 95 % interval. Row error: the largest distance from fp64 over the sum of magnitudes."),
      el("thead", {}, el("tr", {}, ...["Row", "Time", "Rate, or a peer beside ours", "Ceiling", "Share", "Row error", "Ran"].map((label, i) => el("th", { scope: "col", class: i && i < 6 ? "number" : "" }, label)))),
      el("tbody", {}, ...list.flatMap(rowLines)))), holder);
  holders.push([holder, family]);
}

function drawRooflines() {
  for (const [holder, family] of holders) holder.replaceChildren(drawFigure(bench.figures[family]));
}

page.querySelector("header").append(el("p", { class: "soft" }, `${bench.date} · ${bench.machine} · seed ${bench.seed}`));
[...new Set(bench.rows.map((row) => row.family))].forEach(drawFamily);
if (page.querySelector("section")) page.querySelector("section").id = "rows";
if (bench.refused.length) section("Refused", el("ul", {}, ...bench.refused.map((refusal) => el("li", {}, `${refusal.name}: ${refusal.reason}`))));
drawRooflines();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawRooflines);
