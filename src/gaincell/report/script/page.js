// Which plot goes where.

const hollow = { colour: "var(--faint)", hollow: true };

if (data.perplexity) {
  const { rows, original } = data.perplexity;
  const high = Math.max(...rows.map((row) => row.high ?? row.value)), low = Math.min(...rows.map((row) => row.low ?? row.value));
  const log = high / low > 20;
  rowPlot($("#plot-perplexity"), {
    rows: rows.map((row) => ({
      label: row.label, value: number(row.value),
      marks: [{ at: row.value, low: row.low, high: row.high, ...(row.point < 0 ? hollow : { colour: series(row.point) }), words: row.words }],
    })),
    domain: log ? [low / 1.4, high * 1.4] : [low - (high - low) * 0.15 - 0.5, high + (high - low) * 0.15 + 0.5], log,
    label: log ? "perplexity, logarithmic (lower is better)" : "perplexity (lower is better)",
    references: [{ at: original, label: "original" }], aria: "perplexity of every model; arrow keys go through them",
  });
}

if (data.tasks) {
  const { rows, models, names } = data.tasks;
  const colour = (model) => (model === 0 ? hollow : { colour: series(model - 1) });
  const sorted = { given: (a, b) => a.at - b.at, difference: (a, b) => Math.min(...a.differences.map((d) => d.value)) - Math.min(...b.differences.map((d) => d.value)), accuracy: (a, b) => b.marks[0].at - a.marks[0].at };
  const draw = (order) => {
    const list = [...rows].sort(sorted[order]);
    const all = list.flatMap((row) => row.marks.flatMap((m) => [m.low ?? m.at, m.high ?? m.at])), deep = list.flatMap((row) => row.differences.flatMap((d) => [d.low ?? d.value, d.high ?? d.value]));
    rowPlot($("#plot-tasks"), {
      rows: list.map((row) => ({ label: row.title, strong: row.average, marks: [...row.marks.map((m) => ({ ...m, ...colour(m.model) })), ...(row.chance === null ? [] : [{ at: row.chance, tick: true, colour: "var(--series-6)", words: `${row.title}\nby chance: ${percent(row.chance)}` }])] })),
      domain: [Math.max(0, Math.min(...all, ...list.map((r) => r.chance ?? 1)) - 0.03), Math.min(1, Math.max(...all) + 0.03)], format: (v) => number(100 * v), label: "accuracy in % (higher is better)", aria: "accuracy by task; arrow keys go through them",
    });
    if (names.length) rowPlot($("#plot-differences"), {
      rows: list.map((row) => ({ label: row.title, strong: row.average, marks: row.differences.map((d) => ({ at: d.value, low: d.low, high: d.high, ...colour(d.model), words: d.words })) })),
      domain: [Math.min(...deep, 0) - 0.01, Math.max(...deep, 0) + 0.01], format: (v) => number(100 * v), label: "points of accuracy, adapted less original", references: [{ at: 0, label: "no difference" }], aria: "difference to the original by task; arrow keys go through them",
    });
  };
  legend($("#legend-tasks"), [...models.map((name, i) => [name, i === 0 ? "var(--faint)" : series(i - 1), "round"]), ["by chance", "var(--series-6)"]]);
  $("#sort-tasks").addEventListener("change", (event) => draw(event.target.value));
  draw("given");
}

if (data.curves) {
  const select = $("#choose-curve"), { kinds, runs } = data.curves;
  options(select, kinds.map((kind) => kind.title), 0);
  const draw = () => {
    const kind = kinds[+select.value];
    const lines = runs.flatMap((run, i) => {
      const points = run.series[kind.key];
      if (!points) return [];
      const name = runs.length > 1 ? `${run.name}, ${kind.short}` : kind.short;
      if (!run.means?.[kind.key]) return [{ name, colour: series(i), points, dots: points.length < 60 }];
      return [{ name, colour: series(i), points, thin: true }, { name: `${name}, running mean`, colour: series(i), points: run.means[kind.key], quiet: true }];
    });
    linePlot($("#plot-curve"), { lines, x: { label: "thousand tokens learned from" }, y: { label: kind.label, log: kind.log }, tell: (at) => `${number(at)} thousand tokens`, aria: `${kind.title} against tokens; arrow keys move` });
  };
  select.addEventListener("change", draw);
  draw();
}

if (data.layers) {
  linePlot($("#plot-layers"), {
    lines: data.layers.map((line, i) => ({ ...line, colour: series(i), dots: true, dashed: line.before, hollow: line.before })),
    x: { label: "layer", whole: true }, y: { label: "squared error over power", log: true }, tell: (at) => `layer ${at}`, aria: "error of every layer after each stage; arrow keys move",
  });
  legend($("#legend-layers"), data.layers.map((line, i) => [line.name, series(i), "round"]));
}

if (data.heads) {
  const { points, heads, blocks } = data.heads;
  headGrid($("#grid"), data.heads);
  headControls(data.heads);
  headTable($("#head-table"), data.heads);
  linePlot($("#plot-blocks"), {
    lines: points.map((name, i) => ({ name, colour: series(i), dots: true, points: blocks[name].map((value, layer) => [layer + 1, value]) })),
    x: { label: "layer", whole: true }, y: { label: "squared error over power", log: true }, tell: (at) => `layer ${at}`, pick: (at) => choose({ layer: at - 1 }), aria: "error of every attention block; arrow keys move, Enter chooses the layer",
  });
  if (data.maps) attention(data.maps, points, heads, Object.fromEntries(points.map((name) => [name, data.heads.values[name].moved])));
}

if (data.cost) {
  const { points, colours, bars, assumed, phases } = data.cost, select = $("#choose-cost");
  const calm = [0, 1, 2, 4, 3, 5, 6], named = Object.fromEntries(colours.map((part, i) => [part, series(calm[i % 7])]));
  legend($("#legend-cost"), Object.entries(named));
  const draw = () => {
    const point = points[+select.value];
    $("#cost-basis").textContent = bars[point].basis;
    stackPlot($("#plot-energy"), { bars: bars[point].layers.map((parts, i) => ({ label: `layer ${i + 1}`, parts })), colours: named, label: "layer", unit: "energy of one token (nJ)", reference: assumed[point] === null ? null : { at: assumed[point], label: "with the activity assumed by default" }, pick: data.heads && ((layer) => choose({ layer })), aria: "energy of every layer by part; arrow keys move" });
    const end = Math.max(...phases[point].map((phase) => phase.end));
    rowPlot($("#plot-phases"), { rows: phases[point].map((phase) => ({ label: phase.name, value: `${number(phase.end - phase.start)} ns`, marks: [{ at: phase.start, to: phase.end, colour: "var(--series-1)", words: phase.words }] })), domain: [0, end], label: "time since the token's key and value came (ns)", aria: "what a head does during one token; arrow keys go through the phases" });
  };
  options(select, points, 0);
  select.addEventListener("change", draw);
  draw();
}
