// The kinds of plot that sections share: rows of marks, lines, and stacked bars.

// rows: [{label, marks: [{at, low, high, to, colour, hollow, words}], value}]; a mark is a dot, with `low` and `high` a
// dot with its interval, with `to` a bar, with `tick` a line. references: [{at, label}].
function rowPlot(host, { rows, domain, log, label, references = [], format = number, aria }) {
  return plot(host, (width) => {
    const longest = Math.max(...rows.map((row) => row.label.length));
    const narrow = width < 560, left = narrow ? 4 : Math.min(7 * longest + 18, width * 0.4);
    const right = width - (rows.some((row) => row.value) ? 84 : 14);
    const each = narrow ? 46 : 34, top = 22, bottom = top + rows.length * each;
    const scale = scaleOf(domain, [left + 6, right], log), targets = [];
    const drawing = frame(width, bottom + 44, aria);
    const ticks = ticksOf(...domain, Math.max(3, Math.floor((right - left) / 90)), log);
    drawing.append(xAxis({ scale, ticks, format, from: left, to: right, y: bottom, label, middle: narrow ? width / 2 : null, grid: bottom - top }));
    for (const { at, label: words } of references) {
      drawing.append(svg("line", { class: "reference", x1: scale(at), x2: scale(at), y1: top - 4, y2: bottom }));
      if (words) drawing.append(text(scale(at), top - 9, words, { "text-anchor": scale(at) > width * 0.7 ? "end" : scale(at) < 50 ? "start" : "middle", class: "quiet" }));
    }
    rows.forEach((row, index) => {
      const begin = top + index * each, middle = begin + (narrow ? 31 : each / 2);
      drawing.append(text(narrow ? 4 : left - 10, narrow ? begin + 14 : middle + 4, row.label, { "text-anchor": narrow ? "start" : "end", class: row.strong ? "strong" : null }));
      if (row.value) drawing.append(text(width - 2, middle + 4, row.value, { "text-anchor": "end" }));
      const dots = row.marks.filter((mark) => !mark.tick);
      for (const mark of row.marks) {
        const y = mark.tick ? middle : middle + (dots.indexOf(mark) - (dots.length - 1) / 2) * 9, x = scale(mark.at);
        if (mark.tick) {
          drawing.append(svg("line", { x1: x, x2: x, y1: y - 11, y2: y + 11, stroke: mark.colour, "stroke-width": 2.5 }));
          targets.push({ x, y, words: mark.words });
          continue;
        }
        if (mark.to !== undefined) {
          const w = Math.max(2, scale(mark.to) - x);
          drawing.append(svg("rect", { x, y: y - 6, width: w, height: 12, rx: 2, fill: mark.colour }));
          targets.push({ x: x + w / 2, y, words: mark.words });
          continue;
        }
        if (mark.low !== undefined && mark.low !== null)
          drawing.append(svg("line", { x1: scale(Math.max(mark.low, domain[0])), x2: scale(Math.min(mark.high, domain[1])), y1: y, y2: y, stroke: mark.colour, "stroke-width": 2.5, "stroke-linecap": "round", opacity: 0.55 }));
        drawing.append(svg("circle", { cx: x, cy: y, r: 5, fill: mark.hollow ? "var(--paper)" : mark.colour, stroke: mark.colour, "stroke-width": 2 }));
        targets.push({ x, y, words: mark.words });
      }
    });
    return interact(drawing, targets);
  });
}

// lines: [{name, colour, points: [[x, y]], dots, thin, dashed}]. Hints tell all lines at the nearest x.
function linePlot(host, { lines, x, y, height = 300, references = [], pick, aria, tell }) {
  return plot(host, (width) => {
    const all = lines.flatMap((line) => line.points), ys = [...all.map((p) => p[1]), ...references.map((r) => r.at)];
    const low = Math.min(...ys), high = Math.max(...ys), log = y.log && low > 0;
    const gap = (high - low) * 0.06 || Math.abs(high) * 0.05 || 1;
    const domain = log ? [low / 1.08, high * 1.08] : [y.zero && low >= 0 ? 0 : low - gap, high + gap];
    const xs = [...new Set(all.map((p) => p[0]))].sort((a, b) => a - b), ends = [xs[0], xs.at(-1) === xs[0] ? xs[0] + 1 : xs.at(-1)];
    const left = 58, right = width - 14, top = 26, bottom = height - 44;
    const sx = scaleOf(ends, [left + 8, right - 4]), sy = scaleOf(domain, [bottom, top], log);
    const drawing = frame(width, height, aria);
    drawing.append(yAxis({ scale: sy, ticks: ticksOf(...domain, 5, log), from: left, to: right, label: y.label }));
    let ticks = ticksOf(...ends, Math.max(3, Math.floor(width / 110)));
    if (x.whole) ticks = ticks.filter(Number.isInteger);
    drawing.append(xAxis({ scale: sx, ticks, from: left, to: right, y: bottom, label: x.label }));
    for (const { at, label: words } of references) {
      drawing.append(svg("line", { class: "reference", x1: left, x2: right, y1: sy(at), y2: sy(at) }));
      drawing.append(text(right, sy(at) - 6, words, { "text-anchor": "end", class: "quiet" }));
    }
    for (const line of lines) {
      const path = line.points.map(([a, b]) => `${sx(a).toFixed(1)},${sy(b).toFixed(1)}`).join(" ");
      if (!line.only) drawing.append(svg("polyline", { points: path, fill: "none", stroke: line.colour, "stroke-width": line.thin ? 1 : 2, opacity: line.thin ? 0.4 : 1, "stroke-linejoin": "round", "stroke-dasharray": line.dashed ? "5 4" : null }));
      if (line.dots) for (const [a, b] of line.points) drawing.append(svg("circle", { cx: sx(a), cy: sy(b), r: 3.2, fill: line.hollow ? "var(--paper)" : line.colour, stroke: line.colour, "stroke-width": 1.5 }));
    }
    const rule = svg("line", { y1: top, y2: bottom, stroke: "var(--faint)", visibility: "hidden" });
    drawing.append(rule);
    const told = lines.filter((line) => !line.quiet);
    const targets = xs.map((at) => {
      const here = told.map((line) => [line.name, line.points.find((p) => p[0] === at)]).filter(([, p]) => p);
      return here.length && {
        x: sx(at), y: Math.min(...here.map(([, p]) => sy(p[1]))), pick: pick && (() => pick(at)),
        words: [tell(at), ...here.map(([name, p]) => `${name}: ${number(p[1])}`)].join("\n"),
      };
    }).filter(Boolean);
    const mark = (target) => { rule.setAttribute("visibility", target ? "visible" : "hidden"); if (target) for (const end of ["x1", "x2"]) rule.setAttribute(end, target.x); };
    return interact(drawing, targets, { onlyX: true, mark });
  });
}

// bars: [{label, parts: {name: value}}], one after the other; colours by part; reference: a height.
function stackPlot(host, { bars, colours, label, unit, reference, pick, aria }) {
  return plot(host, (width) => {
    const totals = bars.map((bar) => Object.values(bar.parts).reduce((a, b) => a + b, 0));
    const high = 1.06 * Math.max(...totals, reference?.at ?? 0), height = 290, left = 58, top = 26, bottom = height - 44, right = width - 8;
    const sy = scaleOf([0, high], [bottom, top]), each = (right - left - 6) / bars.length;
    const drawing = frame(width, height, aria), targets = [];
    drawing.append(yAxis({ scale: sy, ticks: ticksOf(0, high, 5), from: left, to: right, label: unit }));
    bars.forEach((bar, index) => {
      let sum = 0;
      const x = left + 5 + index * each;
      for (const [part, value] of Object.entries(bar.parts)) {
        drawing.append(svg("rect", { x, y: sy(sum + value), width: Math.max(1, each - Math.min(3, each * 0.2)), height: Math.max(0, sy(sum) - sy(sum + value)), fill: colours[part] }));
        sum += value;
      }
      const rows = Object.entries(bar.parts).map(([part, value]) => `${part}: ${number(value)}`).reverse();
      targets.push({ x: x + each / 2, y: sy(sum), words: [`${bar.label}: ${number(sum)}`, ...rows].join("\n"), pick: pick && (() => pick(index)) });
    });
    const every = Math.ceil(bars.length / Math.max(3, Math.floor(width / 60)));
    const ticks = bars.map((_, i) => i).filter((i) => i % every === 0);
    drawing.append(xAxis({ scale: (i) => left + 5 + (i + 0.45) * each, ticks, format: (i) => i + 1, from: left, to: right, y: bottom, label }));
    if (reference) {
      drawing.append(svg("line", { class: "reference", x1: left, x2: right, y1: sy(reference.at), y2: sy(reference.at) }));
      drawing.append(text(right, sy(reference.at) - 6, reference.label, { "text-anchor": "end", class: "quiet" }));
    }
    return interact(drawing, targets, { onlyX: true });
  });
}
