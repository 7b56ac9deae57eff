"use strict";
// What the views of the page share, its tables and its curves.
const data = JSON.parse(document.getElementById("data").textContent);
const runs = [...data.names.keys()];
const hidden = new Set();
const views = []; // what draws itself again when runs are hidden or shown

function svg(name, attributes, parent, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

function html(name, attributes, parent, text) {
  const node = Object.assign(document.createElement(name), attributes);
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find(m => m * power >= raw) * power;
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + 1e-9 * step; i++) found.push(i * step);
  return found;
}

const phone = () => innerWidth <= 600; // as the styles have it
const exact = v => String(+v.toPrecision(6));

function short(v) {
  const size = Math.abs(v);
  return size && (size < 1e-4 || size >= 1e7) ? (+v.toPrecision(6)).toExponential().replace("e+", "e") : exact(v);
}

// The number of a run beside its line, so that no colour has to be told from another: none on
// another one, first pushed down, then from the bottom up again.
function label(points, root, bottom, gap) {
  const near = (a, b) => Math.abs(a.x - b.x) < 16;
  points.sort((a, b) => a.y - b.y);
  points.forEach((p, k) => {
    for (const q of points.slice(0, k)) if (near(p, q)) p.y = Math.max(p.y, q.y + gap);
  });
  points.toReversed().forEach((p, k, below) => {
    p.y = Math.min(p.y, bottom);
    for (const q of below.slice(0, k)) if (near(p, q)) p.y = Math.min(p.y, q.y - gap);
  });
  for (const {x, y, run} of points) svg("text", {x, y: y + 4, class: "run"}, svg("g", {"data-run": run}, root), run + 1);
}

// One run at a time stands out, wherever it is on the page.
let marked = null, pinned = null;

function mark(run) {
  if (run === marked) return;
  marked = run;
  stress();
  describe(run);
}

// Others fade unless the run is hidden, which would leave nothing to see.
function stress() {
  document.body.classList.toggle("marking", marked !== null && !hidden.has(marked));
  for (const node of document.querySelectorAll("[data-run]")) node.classList.toggle("marked", +node.dataset.run === marked);
}

function redraw(chosen = views) {
  chosen.forEach(draw => draw());
  stress();
}

function runAt(event) {
  const node = event.target.closest?.("[data-run]");
  return node && !node.closest("figure.large") ? +node.dataset.run : null;
}

for (const kind of ["pointerover", "focusin"]) document.addEventListener(kind, event => mark(runAt(event) ?? pinned));
document.addEventListener("click", event => {
  const line = event.target.closest("svg g[data-run]");
  pinned = line && pinned !== +line.dataset.run ? +line.dataset.run : null;
  mark(runAt(event) ?? pinned);
});

for (const box of document.querySelectorAll(".legend input")) {
  box.addEventListener("change", () => {
    box.checked ? hidden.delete(+box.value) : hidden.add(+box.value);
    redraw();
  });
}
// A dozen names would take a phone's screen.
if (phone() && runs.length > 3) document.querySelector(".legend").open = false;

// Tables: numbers by value, before words, and what is empty last.
function before(s, t, way) {
  if (!s || !t) return !s - !t;
  const [a, b] = [parseFloat(s), parseFloat(t)];
  if (isNaN(a) !== isNaN(b)) return isNaN(a) - isNaN(b);
  return way * (isNaN(a) ? s.localeCompare(t, undefined, {numeric: true}) : a - b);
}

for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const way = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    heads.forEach(h => h.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
    const text = row => row.cells[column].textContent;
    body.append(...[...body.rows].sort((a, b) => before(text(a), text(b), way)));
  }));
}

// Curves, one chart a metric.
const W = 460, H = 280, LEFT = 58, RIGHT = 28, TOP = 8, BOTTOM = 40;

function range(curves) {
  // Not Math.max(...values): no more than some 100,000 arguments go into a call.
  const most = values => values.reduce((a, b) => Math.max(a, b), -Infinity);
  const far = most(curves.flatMap(c => c.map(p => p[0])));
  const drawn = c => c.length >= 20 ? c.filter(p => p[0] >= 0.05 * far) : c;
  const values = curves.flatMap(drawn).map(p => p[1]).filter(v => v !== null);
  const low = -most(values.map(v => -v)), high = most(values);
  const margin = (high - low) * 0.05 || Math.abs(low) * 0.05 || 1;
  return [far || 1, low - margin, high + margin];
}

function line(curve, x, y) {
  let path = "", pen = "M";
  for (const [at, value] of curve) {
    path += value === null ? "" : `${pen}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = value === null ? "M" : "L";
  }
  return path;
}

// What is longer than the margin beside it would be cut off.
function squeeze(texts, most) {
  for (const text of [...texts].filter(text => text.getComputedTextLength() > most)) {
    for (const [key, value] of [["textLength", most], ["lengthAdjust", "spacingAndGlyphs"]]) text.setAttribute(key, value);
  }
}

function grid(root, x, y, far, low, high) {
  for (const t of ticks(low, high, 5)) {
    svg("line", {x1: LEFT, x2: W - RIGHT, y1: y(t), y2: y(t), stroke: "#e5e5e5"}, root);
    svg("text", {x: LEFT - 6, y: y(t) + 4, "text-anchor": "end"}, root, short(t));
  }
  for (const t of ticks(0, far, 4)) svg("text", {x: x(t), y: H - BOTTOM + 16, "text-anchor": "middle"}, root, short(t));
  squeeze(root.querySelectorAll("text"), LEFT - 6);
  svg("text", {x: (LEFT + W - RIGHT) / 2, y: H - 6, "text-anchor": "middle"}, root, data.axis);
}

function draw(figure) {
  const chart = data.charts[figure.dataset.key];
  const shown = runs.filter(i => !hidden.has(i) && chart[i].some(p => p[1] !== null));
  figure.querySelector("svg")?.remove();
  const root = svg("svg", {viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${figure.dataset.key} by ${data.axis}`});
  figure.querySelector("h3").after(root);
  figure.querySelector(".read").textContent = "";
  if (!shown.length) return;
  const [far, low, high] = range(shown.map(i => chart[i]));
  const x = v => LEFT + v / far * (W - LEFT - RIGHT), y = v => TOP + (high - v) / (high - low) * (H - TOP - BOTTOM);
  const clip = svg("clipPath", {id: `clip ${figure.dataset.key}`.replace(/\W/g, "-")}, root);
  svg("rect", {x: LEFT - 3, y: TOP, width: W - LEFT - RIGHT + 6, height: H - TOP - BOTTOM}, clip); // a dot at the end is whole
  grid(root, x, y, far, low, high);
  for (const i of shown) {
    const {colour, dash} = data.styles[i];
    const group = svg("g", {"clip-path": `url(#${clip.id})`, "data-run": i}, root);
    svg("path", {d: line(chart[i], x, y), fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": dash}, group);
    if (chart[i].length < 40) for (const [at, value] of chart[i]) if (value !== null) svg("circle", {cx: x(at), cy: y(value), r: 2.5, fill: colour}, group);
  }
  label(shown.map(run => {
    const [at, value] = chart[run].findLast(p => p[1] !== null);
    return {x: x(at) + 5, y: Math.max(TOP + 4, Math.min(H - BOTTOM - 4, y(value))), run};
  }), root, H - BOTTOM - 4, phone() ? 15 : 11);
  follow(figure, root, chart, shown, far, x);
}

// A line under the pointer, and every run's number there.
function follow(figure, root, chart, shown, far, x) {
  const cross = svg("line", {y1: TOP, y2: H - BOTTOM, stroke: "#888", visibility: "hidden", "pointer-events": "none"}, root);
  const near = (curve, at) => curve.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a)[1];
  root.addEventListener("pointermove", event => {
    const box = root.getBoundingClientRect();
    const at = Math.max(0, Math.min(far, ((event.clientX - box.left) / box.width * W - LEFT) / (W - LEFT - RIGHT) * far));
    for (const side of ["x1", "x2"]) cross.setAttribute(side, x(at));
    cross.setAttribute("visibility", "visible");
    const said = shown.map(i => [i + 1, near(chart[i], at)]).map(([run, v]) => `${run}: ${v === null ? "not finite" : exact(v)}`);
    figure.querySelector(".read").textContent = `${data.axis} ${exact(Math.round(at))}:  ${said.join("   ")}`;
  });
}

views.push(() => document.querySelectorAll(".chart").forEach(draw));
