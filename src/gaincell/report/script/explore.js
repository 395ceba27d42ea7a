// The front as dots, coloured by a field, with a range to keep; how it grew.

const known = Object.fromEntries(data.axes.map((axis) => [axis.name, axis]));
const names = data.axes.map((axis) => axis.name), fields = ["fidelity", ...data.fields];
const shownAs = { x: names.indexOf(data.objectives[1]), y: names.indexOf(data.objectives[0]), colour: Math.min(1, fields.length - 1) };
let kept = null; // [[low, high], [low, high]] in figures

const valueOf = (point, field) => (field === "fidelity" ? point.fidelity : point.values[field]);
const inside = (point) => !kept || [shownAs.x, shownAs.y].every((axis, i) => {
  const at = point.figures[names[axis]];
  return at >= kept[i][0] && at <= kept[i][1];
});

function keep(range) {
  kept = range;
  for (const point of data.points) document.getElementById(`point-${point.number}`).hidden = !inside(point);
  drawFront();
}

// Pointer down to pointer up over a drawing gives its corners in the drawing's own coordinates.
function brushed(drawing, done) {
  let from = null;
  const box = svg("rect", { fill: "var(--faint)", opacity: 0.25, visibility: "hidden" });
  const at = (event) => {
    const place = drawing.getBoundingClientRect(), zoom = place.width / drawing.viewBox.baseVal.width;
    return [(event.clientX - place.left) / zoom, (event.clientY - place.top) / zoom];
  };
  drawing.append(box);
  drawing.addEventListener("pointerdown", (event) => { from = at(event); event.preventDefault(); });
  drawing.addEventListener("pointermove", (event) => {
    if (!from) return;
    const [x, y] = at(event);
    for (const [name, value] of Object.entries({ x: Math.min(x, from[0]), y: Math.min(y, from[1]), width: Math.abs(x - from[0]), height: Math.abs(y - from[1]), visibility: "visible" })) box.setAttribute(name, value);
  });
  drawing.addEventListener("pointerup", (event) => {
    const to = at(event), start = from;
    from = null;
    box.setAttribute("visibility", "hidden");
    if (start && Math.abs(to[0] - start[0]) + Math.abs(to[1] - start[1]) > 8) done(start, to);
  });
  drawing.addEventListener("pointerleave", () => { from = null; box.setAttribute("visibility", "hidden"); });
}

function drawFront() {
  const [x, y] = [known[names[shownAs.x]], known[names[shownAs.y]]], field = fields[shownAs.colour];
  const values = [...new Set(data.points.map((point) => valueOf(point, field)))].sort((a, b) => (Number.isNaN(a - b) ? a.localeCompare(b) : a - b));
  const several = values.length <= 7, colour = (point) => {
    const index = values.indexOf(valueOf(point, field));
    return several ? series(index) : mixed(0.25 + 0.75 * (index / (values.length - 1)));
  };
  legend($("#legend"), several ? values.map((value, i) => [`${field} ${value}`, series(i), "round"]) : [[`${field} ${values[0]}`, mixed(0.25), "round"], [`to ${values.at(-1)}`, mixed(1), "round"]]);
  plot($("#plot-front"), (width) => {
    const height = 380, left = 66, right = width - 14, top = 26, bottom = height - 44;
    const range = (axis) => {
      const all = data.points.map((point) => point.figures[axis.name]), low = Math.min(...all), high = Math.max(...all);
      return low > 0 ? [low / 1.06, high * 1.06] : [low - 1e-9, high + 1e-9];
    };
    const [dx, dy] = [range(x), range(y)], logs = [dx[0] > 0, dy[0] > 0];
    const sx = scaleOf(dx, [left + 6, right - 6], logs[0]), sy = scaleOf(dy, [bottom, top], logs[1]);
    const back = ([low, high], [from, to], log) => (at) => {
      const share = (at - from) / (to - from);
      return log ? low * (high / low) ** share : low + share * (high - low);
    };
    const drawing = frame(width, height, `${y.label} against ${x.label}; arrow keys go through the points`);
    drawing.append(yAxis({ scale: sy, ticks: ticksOf(...dy, 5, logs[1]), from: left, to: right, label: y.label }));
    drawing.append(xAxis({ scale: sx, ticks: ticksOf(...dx, Math.max(3, Math.floor(width / 110)), logs[0]), from: left, to: right, y: bottom, label: x.label }));
    const best = data.points.filter((point) => point.best).sort((a, b) => a.figures[x.name] - b.figures[x.name]);
    if (data.objectives.length === 2 && x.objective && y.objective)
      drawing.append(svg("polyline", { points: best.map((p) => `${sx(p.figures[x.name]).toFixed(1)},${sy(p.figures[y.name]).toFixed(1)}`).join(" "), fill: "none", stroke: "var(--faint)", "stroke-width": 1.5 }));
    for (const point of [...data.points].sort((a, b) => a.best - b.best))
      drawing.append(svg("circle", { cx: sx(point.figures[x.name]), cy: sy(point.figures[y.name]), r: point.best ? 5 : 3.6, fill: point.best ? colour(point) : "var(--paper)", stroke: colour(point), "stroke-width": 1.8, opacity: inside(point) ? 1 : 0.15 }));
    const targets = data.points.filter(inside).map((point) => ({ x: sx(point.figures[x.name]), y: sy(point.figures[y.name]), words: point.words }));
    brushed(drawing, (a, b) => {
      const bx = back(dx, [left + 6, right - 6], logs[0]), by = back(dy, [bottom, top], logs[1]);
      const pair = (f, u, v) => [f(u), f(v)].sort((p, q) => p - q);
      keep([pair(bx, a[0], b[0]), pair(by, a[1], b[1])]);
    });
    return interact(drawing, targets);
  });
}

for (const [id, words, what] of [["#choose-x", data.axes.map((axis) => axis.label), "x"], ["#choose-y", data.axes.map((axis) => axis.label), "y"], ["#choose-colour", fields, "colour"]]) {
  options($(id), words, shownAs[what]);
  $(id).addEventListener("change", (event) => { shownAs[what] = +event.target.value; keep(what === "colour" ? kept : null); });
}
$("#show-all").addEventListener("click", () => keep(null));
if (data.points.length) drawFront();
if (data.growth.length > 1)
  linePlot($("#plot-growth"), {
    lines: [{ name: "beaten", colour: "var(--series-1)", points: data.growth.map((share, i) => [i + 1, share]) }],
    x: { label: "points", whole: true }, y: { label: "share of the box", zero: true }, tell: (at) => `${at} points`, aria: "share of the box beaten against points; arrow keys move",
  });
