// Parallel coordinates: an axis a setting, and a metric's at the end.
const parallel = document.getElementById("parallel");
const AXIS = {top: 64, height: 260, left: 60, right: 110, pitch: 118};
const FEW = 8; // axes to begin with

function numeric(texts) {
  const values = texts.map(t => t === "" || t === null ? null : Number(t));
  return values.some(v => v !== null) && values.every(v => v === null || Number.isFinite(v)) ? values : null;
}

// Where a run lies on an axis, from 0 below to 1 above; null where it has no value.
function axisOf(name, texts, better = 0) {
  const values = numeric(texts), known = v => v !== null;
  if (!values) {
    const words = [...new Set(texts.filter(t => t !== ""))].sort((a, b) => before(a, b, 1));
    const place = k => words.length > 1 ? k / (words.length - 1) : 0.5;
    return {name, better, texts, at: texts.map(t => t === "" ? null : place(words.indexOf(t))), marks: words.map((w, k) => [place(k), w])};
  }
  const low = Math.min(...values.filter(known)), high = Math.max(...values.filter(known));
  const scale = low > 0 && high / low >= 50 ? Math.log : v => v;
  const place = v => high > low ? (scale(v) - scale(low)) / (scale(high) - scale(low)) : 0.5;
  const own = [...new Set(values.filter(known))].sort((a, b) => a - b);
  const at = own.length <= 6 ? own : [low, ...(scale === Math.log ? powers(low, high) : ticks(low, high, 4)), high];
  return {name, better, texts, at: values.map(v => v === null ? null : place(v)), marks: at.map(v => [place(v), short(v)])};
}

function powers(low, high) {
  const found = [];
  for (let p = Math.ceil(Math.log10(low)); 10 ** p <= high; p++) found.push(10 ** p);
  return found;
}

const clipped = (text, most) => text.length > most ? `${text.slice(0, most - 1)}…` : text;

// An axis' name in short lines, broken where names have joints.
function lines(name) {
  const found = [""];
  for (const piece of name.match(/[^./_ ]*[./_ ]*/g).filter(Boolean)) {
    if (found.at(-1).length + piece.length > 16 && found.at(-1)) found.push("");
    found[found.length - 1] += piece;
  }
  return found.map(text => clipped(text, 17)).slice(0, 3);
}

function drawAxis(root, axis, x, y, aside) {
  const height = y(0);
  svg("line", {x1: x, x2: x, y1: y(1), y2: height, stroke: "#888"}, root);
  const head = [...lines(axis.name), ...(axis.better ? [axis.better > 0 ? "higher is better" : "lower is better"] : [])];
  head.forEach((text, k) => svg("text", {x, y: y(1) - 12 - 13 * (head.length - 1 - k), "text-anchor": "middle"}, root, text));
  let free = Infinity;
  for (const [place, text] of axis.marks.toSorted((a, b) => a[0] - b[0])) {
    svg("line", {x1: x - 3, x2: x + 3, y1: y(place), y2: y(place), stroke: "#888"}, root);
    if (y(place) > free - 12) continue;
    free = y(place);
    svg("title", {}, svg("text", {x: x + aside, y: y(place) + 4, class: "halo"}, root, clipped(text, 14)), text);
  }
  if (axis.at.includes(null)) svg("text", {x, y: height + 32, "text-anchor": "middle"}, root, "none");
}

function drawLine(root, axes, run, x, y) {
  const {colour, dash} = data.styles[run];
  const d = axes.map((axis, k) => `${k ? "L" : "M"}${x(k)} ${y(axis.at[run])}`).join("");
  const group = svg("g", {"data-run": run, tabindex: 0, role: "img", "aria-label": said(run, axes)}, root);
  svg("path", {d, fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": dash}, group);
  svg("path", {d, fill: "none", class: "hit"}, group);
}

function said(run, axes) {
  const text = value => typeof value === "number" ? exact(value) : value;
  const parts = axes.filter(axis => axis.at[run] !== null).map(axis => `${axis.name} ${text(axis.texts[run])}`);
  return `${data.names[run]}: ${parts.join(", ")}`;
}

function chosenAxes() {
  const boxes = [...parallel.querySelectorAll(".axes input:checked")];
  const axes = boxes.map(box => axisOf(box.value, data.settings[box.value]));
  const name = parallel.querySelector("select").value, metric = data.metrics[name];
  return metric ? [...axes, axisOf(name, metric.values, metric.better)] : axes;
}

let axes = [];

function drawParallel() {
  const place = parallel.querySelector(".scroll"), shown = runs.filter(i => !hidden.has(i));
  axes = chosenAxes();
  place.replaceChildren();
  if (!axes.length) return;
  const gaps = Math.max(1, axes.length - 1);
  const width = Math.max(AXIS.left + AXIS.right + gaps * AXIS.pitch, Math.min(place.clientWidth, 260 * (gaps + 1)));
  const x = k => AXIS.left + k * (width - AXIS.left - AXIS.right) / gaps;
  const y = at => AXIS.top + (at === null ? AXIS.height + 20 : (1 - at) * AXIS.height);
  const root = svg("svg", {width, height: AXIS.top + AXIS.height + 40, role: "group", "aria-label": "Parallel coordinates"}, place);
  shown.forEach(run => drawLine(root, axes, run, x, y));
  // Beside the last axis there are the runs' numbers.
  axes.forEach((axis, k) => drawAxis(root, axis, x(k), y, k < axes.length - 1 ? 6 : 28));
  label(shown.map(run => ({x: x(axes.length - 1) + 8, y: y(axes.at(-1).at[run]), run})), root, y(null), 11);
}

function describe(run) {
  parallel.querySelector(".read").textContent = run === null || !axes.length ? "" : said(run, axes);
}

function offerAxes() {
  const select = parallel.querySelector("select"), names = Object.keys(data.settings);
  for (const name of Object.keys(data.metrics)) if (data.metrics[name].values.some(v => v !== null)) html("option", {value: name}, select, name);
  if (data.chosen) select.value = data.chosen;
  // Those that every run has say more of all of them; the conditions of an evaluation say least.
  const rank = name => name.startsWith("evaluation.") ? 1e6 : data.settings[name].filter(t => t === "").length;
  const first = new Set(names.toSorted((a, b) => rank(a) - rank(b)).slice(0, FEW));
  for (const name of names) {
    const choice = html("label", {}, parallel.querySelector(".axes"));
    html("input", {type: "checkbox", value: name, checked: first.has(name)}, choice);
    choice.append(` ${name}`);
  }
  parallel.addEventListener("change", () => redraw([drawParallel]));
  addEventListener("resize", () => redraw([drawParallel]));
}

// Pictures: all runs at one point of their training.
const {axis: along, stops, kinds} = data.pictures;
const slider = document.getElementById("slider");
const frames = []; // what shows one run's pictures of one kind
const grouped = n => n.toLocaleString("en");

function framePictures() {
  const rows = document.querySelector("#pictures .rows");
  for (const [kind, drawn] of Object.entries(kinds)) {
    html("h3", {}, rows, kind);
    const row = html("div", {className: "row"}, rows);
    drawn.forEach((series, run) => {
      if (!series.length) return;
      const figure = html("figure", {}, row), button = html("button", {type: "button"}, figure);
      figure.dataset.run = run;
      const image = html("img", {}, button);
      button.addEventListener("click", () => figure.classList.toggle("large"));
      frames.push({kind, series, run, figure, button, image, caption: html("figcaption", {}, figure), shown: null});
    });
  }
}

function show(frame, stop) {
  const {series, run, kind, button, image, caption} = frame;
  const found = series.findLast(([at]) => at <= stop);
  button.hidden = !found;
  caption.textContent = `${data.names[run]}: ${found ? when(found) : `none before ${along} ${grouped(series[0][0])}`}`;
  if (!found || found === frame.shown) return;
  frame.shown = found;
  image.src = `data:image/png;base64,${found[2]}`;
  image.alt = `${kind} of ${data.names[run]}, ${when(found)}`;
}

const when = ([at, epoch]) => along === "step" ? `step ${grouped(at)}, epoch ${epoch}` : `epoch ${epoch}`;

function showPictures() {
  const stop = stops[slider.value], said = `${along} ${grouped(stop)} (${+slider.value + 1} of ${stops.length})`;
  frames.forEach(frame => {
    frame.figure.hidden = hidden.has(frame.run);
    if (!frame.figure.hidden) show(frame, stop);
  });
  document.querySelector(".slider output").textContent = said;
  slider.setAttribute("aria-valuetext", said);
}

document.addEventListener("keydown", event => {
  if (event.key === "Escape") document.querySelector("figure.large")?.classList.remove("large");
});

if (runs.length > 1 && Object.keys(data.settings).length) {
  offerAxes();
  views.push(drawParallel);
} else parallel.hidden = true;
if (stops.length) {
  framePictures();
  slider.max = stops.length - 1; // first, for it bounds the value
  slider.value = slider.max;
  document.querySelector("label[for=slider]").textContent = along;
  slider.addEventListener("input", showPictures);
  views.push(showPictures);
} else {
  document.getElementById("pictures").querySelector(".note").textContent = "None yet.";
  document.querySelector(".slider").remove();
}
redraw();
