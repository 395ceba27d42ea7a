// What every plot needs: elements, numbers, scales, axes, and one hint that pointer and arrow keys share.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (selector, within = document) => within.querySelector(selector);
const series = (index) => `var(--series-${(index % 7) + 1})`;
const mixed = (share) => `color-mix(in oklab, var(--heat-high) ${(100 * share).toFixed(1)}%, var(--heat-low))`;

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}
const html = (tag, attributes = {}, ...children) => build(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  build(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const text = (x, y, words, attributes = {}) => svg("text", { x, y, ...attributes }, String(words));

// Four digits, in plain notation where that is short.
function number(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 });
  if (size !== 0 && size < 1e-3) return value.toExponential(2);
  return value.toLocaleString("en", { maximumSignificantDigits: size >= 10 ** digits ? Math.ceil(Math.log10(size + 1)) : digits });
}
const percent = (value, digits = 3) => (value > 0 && value < 1e-4 ? "< 0.01 %" : value === null ? "–" : `${number(100 * value, digits)} %`);

function ticksOf(low, high, count, log) {
  if (log) {
    const decades = Math.log10(high / low), found = [];
    const steps = decades > 2.5 ? [1] : decades > 0.9 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
      for (const s of steps) if (s * 10 ** e >= low * 0.999 && s * 10 ** e <= high * 1.001) found.push(s * 10 ** e);
    const every = Math.ceil(found.length / count);
    if (found.length > 1) return found.filter((_, i) => i % every === 0);
  }
  const raw = (high - low) / count, unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((s) => s * unit >= raw) * unit, found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(+(i * step).toPrecision(12));
  return found;
}

function scaleOf([low, high], [from, to], log) {
  const f = log ? Math.log : (x) => x;
  return (x) => from + ((f(x) - f(low)) / (f(high) - f(low) || 1)) * (to - from);
}

// Draws at the width there is, and again when that changes; returns a function that draws anew. A later call for the
// same host takes its place.
const drawn = new WeakMap();
function plot(host, draw) {
  const render = () => {
    const width = Math.round(host.clientWidth), now = drawn.get(host);
    now.width = width;
    if (width) host.replaceChildren(now.draw(width));
  };
  const known = drawn.get(host);
  drawn.set(host, { draw, width: 0 });
  if (!known) new ResizeObserver(() => requestAnimationFrame(() => Math.round(host.clientWidth) !== drawn.get(host).width && render())).observe(host);
  render();
  return render;
}

function frame(width, height, label) {
  return svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label, tabindex: 0 });
}

function xAxis({ scale, ticks, format = number, from, to, y, label, middle, grid = 0 }) {
  const axis = svg("g", { class: "axis" });
  for (const tick of ticks) {
    axis.append(svg("line", { x1: scale(tick), x2: scale(tick), y1: y - grid, y2: y + 4 }));
    axis.append(text(scale(tick), y + 17, format(tick), { "text-anchor": "middle" }));
  }
  axis.append(text(middle ?? (from + to) / 2, y + 36, label, { "text-anchor": "middle" }));
  return axis;
}

function yAxis({ scale, ticks, format = number, from, to, label }) {
  const axis = svg("g", { class: "axis" });
  for (const tick of ticks) {
    axis.append(svg("line", { x1: from, x2: to, y1: scale(tick), y2: scale(tick) }));
    axis.append(text(from - 8, scale(tick) + 4, format(tick), { "text-anchor": "end" }));
  }
  axis.append(text(0, 11, label));
  return axis;
}

const tip = html("div", { id: "tip", role: "status", "aria-live": "polite", hidden: "" });
document.body.append(tip);

function hint(words, x, y) {
  tip.hidden = false;
  tip.textContent = words;
  const room = document.documentElement.clientWidth;
  tip.style.left = "0px";
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(6, Math.min(x + 12, room - width - 6))}px`;
  tip.style.top = `${window.scrollY + (y - height - 12 < 0 ? y + 16 : y - height - 12)}px`;
}
const unhint = () => (tip.hidden = true);

// targets: [{x, y, words, pick}] in the drawing's own coordinates. The nearest one to the pointer is told and, if `mark`
// is given, marked; arrow keys go from one to the next; Enter or a click picks.
function interact(drawing, targets, { onlyX = false, mark = () => {} } = {}) {
  if (!targets.length) return drawing;
  let at = -1;
  const show = (index) => {
    at = index;
    const box = drawing.getBoundingClientRect(), zoom = box.width / drawing.viewBox.baseVal.width;
    hint(targets[at].words, box.left + targets[at].x * zoom, box.top + targets[at].y * zoom);
    mark(targets[at]);
  };
  const leave = () => { unhint(); mark(null); };
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect(), zoom = box.width / drawing.viewBox.baseVal.width;
    const x = (event.clientX - box.left) / zoom, y = (event.clientY - box.top) / zoom;
    const apart = (t) => Math.abs(t.x - x) + (onlyX ? 0 : Math.abs(t.y - y));
    show(targets.reduce((best, t, i) => (apart(t) < apart(targets[best]) ? i : best), 0));
  });
  drawing.addEventListener("pointerleave", leave);
  drawing.addEventListener("blur", leave);
  drawing.addEventListener("click", () => at >= 0 && targets[at].pick?.());
  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) show((at + step + targets.length) % targets.length);
    else if (event.key === "Enter" && at >= 0) targets[at].pick?.();
    else if (event.key === "Escape") leave();
    else return;
    event.preventDefault();
  });
  return drawing;
}

function legend(host, entries) {
  host.replaceChildren(...entries.map(([name, colour, shape = ""]) =>
    html("li", {}, html("i", { class: shape, style: `background:${colour}` }), name)));
}

function options(select, names, chosen) {
  select.replaceChildren(...names.map((name, i) => html("option", { value: i, ...(i === chosen ? { selected: "" } : {}) }, name)));
}
