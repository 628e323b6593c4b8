// What the pages of an audit and of a bench share: elements, numbers, pictures. No network, no state but the theme.
"use strict";
const page = document.getElementById("page");
const letters = [];  // of an audit's candidates: their colours are the same in all pictures

// ---- Elements and text ----

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined && value !== "") node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== undefined && child !== null));
  return node;
}

const real = (x) => (typeof x === "number" ? x : x === "inf" ? Infinity : x === "-inf" ? -Infinity : NaN);

function digits(x, unit) {
  x = real(x);
  if (!Number.isFinite(x)) return x > 0 ? "no upper bound" : "unknown";
  if (unit === "B") {
    const names = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = 0;
    while (Math.abs(x) >= 1024 && power < names.length - 1) { x /= 1024; ++power; }
    return `${x >= 100 || power === 0 ? x.toFixed(0) : x.toPrecision(3)} ${names[power]}`;
  }
  if (unit.startsWith("USD")) return x.toLocaleString("en", { maximumFractionDigits: Math.abs(x) < 100 ? 2 : 0 });
  if (x !== 0 && (Math.abs(x) >= 1e6 || Math.abs(x) < 1e-3)) return x.toExponential(2);
  return Math.abs(x) >= 1000 ? x.toLocaleString("en", { maximumFractionDigits: 0 }) : String(Number(x.toPrecision(3)));
}

// A bound shows which side of it the truth lies on.
function withoutUnit(q) {
  const sign = real(q.high) === Infinity ? "\u2265 " : real(q.low) === -Infinity ? "\u2264 " : "";
  return sign + digits(q.value, q.unit);
}

function withUnit(q) {
  const text = withoutUnit(q);
  if (q.unit === "B" || q.unit === "fraction") return text;
  if (q.unit === "ratio") return `${text} x`;
  return `${text} ${q.unit}`;
}

const rangeText = (q) => (q.low === q.high || !Number.isFinite(real(q.low)) || !Number.isFinite(real(q.high)) ? "" : `${digits(q.low, q.unit)} to ${digits(q.high, q.unit)}`);

const section = (title, ...children) => {
  const node = el("section", { "aria-label": title }, el("h2", {}, title), ...children);
  page.append(node);
  return node;
};

// ---- Pictures ----

const colour = (index) => getComputedStyle(document.documentElement).getPropertyValue(`--c${index % 7}`).trim();
const colourOf = (scope, fallback) => colour(letters.includes(scope) ? letters.indexOf(scope) : fallback);

// Entries: text, colour, and for a line its dashes ("" for a solid one); without them a filled square.
const legend = (entries) => el("ul", { class: "legend" }, ...entries.map(([text, fill, dashes]) =>
  el("li", {}, el("i", { class: dashes === undefined ? "filled" : "", style: `border-top-color:${fill};border-top-style:${dashes ? "dashed" : "solid"}` }), text)));

function drawFigure(figure) {
  const node = el("figure", {}, el("h3", {}, figure.title));
  if (figure.refused || !figure.curves.length) {
    node.append(el("p", { class: "soft" }, `Refused: ${figure.refused || "no data"}`));
    return node;
  }
  const marks = [];
  const points = [];
  // Curves of one scope share a colour and differ in dashes, so that no two lines look alike.
  const scopes = [...new Set(figure.curves.map((curve) => curve.scope))];
  const seen = new Map();
  figure.curves.forEach((curve) => {
    const stroke = colourOf(curve.scope, scopes.indexOf(curve.scope));
    const repeat = seen.get(curve.scope) ?? 0;
    seen.set(curve.scope, repeat + 1);
    const data = curve.points.map(([x, y, low, high]) => ({ x: real(x), y: real(y), low: real(low), high: real(high) })).filter((p) => Number.isFinite(p.x) && Number.isFinite(p.y));
    const banded = data.filter((p) => Number.isFinite(p.low) && Number.isFinite(p.high) && p.high > p.low && (!figure.y_log || p.low > 0));
    const ceiling = curve.scope === "ceiling";
    const dashes = ceiling ? "6 4" : ["", "2 3", "8 3 2 3"][repeat % 3];
    points.push([curve.label, stroke, data.length > 1 ? dashes : undefined]);
    if (banded.length > 1) marks.push(Plot.areaY(banded, { x: "x", y1: "low", y2: "high", fill: stroke, fillOpacity: 0.15 }));
    else if (banded.length) marks.push(Plot.ruleX(banded, { x: "x", y1: "low", y2: "high", stroke }));
    if (data.length > 1) marks.push(Plot.lineY(data, { x: "x", y: "y", stroke, strokeWidth: 1.75, strokeDasharray: dashes || undefined }));
    if (data.length <= 24 && !ceiling) marks.push(Plot.dot(data, { x: "x", y: "y", r: 3, fill: stroke }));
  });
  const svg = Plot.plot({
    width: 620, height: 340, marginLeft: 64, marginBottom: 44, style: { fontSize: "12px", overflow: "visible" },
    x: { label: figure.x_label, type: figure.x_log ? "log" : "linear", grid: false, tickFormat: figure.x_log ? "~s" : undefined, ticks: figure.x_log ? 5 : 6 },
    y: { label: figure.y_label, type: figure.y_log ? "log" : "linear", grid: true, tickFormat: figure.y_log ? "~g" : undefined, zero: !figure.y_log, ticks: figure.y_log ? 5 : 6 },
    marks, ariaLabel: figure.title,
  });
  node.append(legend(points), svg, el("figcaption", {}, `${figure.y_label} against ${figure.x_label}; bands are intervals.`));
  return node;
}
