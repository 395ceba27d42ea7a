// The heads of the model: a grid to read and to choose from, and the chosen head's attention beside the original's.

const chosen = { point: 0, layer: 0, head: 0, metric: 0, query: 0 };
const redraws = [];

function choose(change) {
  Object.assign(chosen, change);
  for (const redraw of redraws) redraw();
}

function headGrid(host, { layers, heads, points, metrics, values, dead, saturated }) {
  const pointOf = () => points[chosen.point], metricOf = () => metrics[chosen.metric];
  const told = (value, metric) => (metric.percent ? percent(value) : number(value));
  const cells = [];
  let wide = null;
  const lay = () => {
    wide = host.clientWidth >= 560;
    const columns = wide ? layers : heads, rows = wide ? heads : layers;
    host.style.gridTemplateColumns = `2.4rem repeat(${columns}, minmax(0, 1fr))`;
    host.replaceChildren();
    cells.length = 0;
    const head = (words) => html("span", {}, words);
    host.append(head(""));
    const every = Math.ceil(columns / (host.clientWidth / 30));
    for (let c = 0; c < columns; c++) host.append(head(c % every ? "" : c + 1));
    for (let r = 0; r < rows; r++) {
      host.append(head(r + 1));
      for (let c = 0; c < columns; c++) {
        const [layer, h] = wide ? [c, r] : [r, c];
        const cell = html("button", { type: "button", "data-layer": layer, "data-head": h });
        cell.addEventListener("click", () => choose({ layer, head: h }));
        const words = () => `layer ${layer + 1}, head ${h + 1}\n${metrics.map((m) => `${m.title}: ${told(values[pointOf()][m.key][layer * heads + h], m)}`).join("\n")}`;
        cell.addEventListener("pointerenter", () => { const box = cell.getBoundingClientRect(); hint(words(), box.right, box.top); });
        cell.addEventListener("pointerleave", unhint);
        host.append(cell);
        cells[layer * heads + h] = cell;
      }
    }
    $("#grid-caption").textContent = wide ? "Columns are layers, rows are heads." : "Rows are layers, columns are heads.";
    paint();
  };
  const paint = () => {
    const metric = metricOf(), found = values[pointOf()][metric.key], shown = points.flatMap((p) => values[p][metric.key]).filter(Number.isFinite);
    const f = metric.log ? (x) => Math.log(Math.max(x, 1e-6)) : (x) => x;
    const low = metric.unit ? 0 : Math.min(...shown), high = metric.unit ? 1 : Math.max(...shown);
    cells.forEach((cell, i) => {
      const share = Number.isFinite(found[i]) ? (f(found[i]) - f(low)) / (f(high) - f(low) || 1) : 0;
      const here = chosen.layer * heads + chosen.head === i;
      const state = dead[pointOf()].includes(i) ? "dead" : saturated[pointOf()].includes(i) ? "saturated" : "";
      cell.style.background = mixed(Math.max(0, Math.min(1, share)));
      cell.className = state;
      cell.tabIndex = here ? 0 : -1;
      cell.setAttribute("aria-pressed", here);
      cell.setAttribute("aria-label", `layer ${Math.floor(i / heads) + 1}, head ${(i % heads) + 1}: ${told(found[i], metric)} ${state}`);
    });
    const end = (value) => (metric.percent ? percent(value, 2) : number(value, 2));
    $("#metric-name").textContent = `${metric.title[0].toUpperCase()}${metric.title.slice(1)}`;
    $("#ramp-low").textContent = end(low);
    $("#ramp-high").textContent = `${end(high)}${metric.log ? ", logarithmic" : ""}`;
    $("#metric-help").textContent = metric.help;
  };
  host.addEventListener("keydown", (event) => {
    const [dx, dy] = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key] ?? [];
    if (dx === undefined) return;
    const [dLayer, dHead] = wide ? [dx, dy] : [dy, dx];
    choose({ layer: (chosen.layer + dLayer + layers) % layers, head: (chosen.head + dHead + heads) % heads });
    cells[chosen.layer * heads + chosen.head].focus();
    event.preventDefault();
  });
  new ResizeObserver(() => requestAnimationFrame(() => wide !== host.clientWidth >= 560 && lay())).observe(host);
  lay();
  redraws.push(paint);
}

// Weights are stored as bytes, a lower triangle a head, and stand for the square of their 255th part.
function triangles({ weights }, tokens) {
  const bytes = Uint8Array.from(atob(weights), (letter) => letter.charCodeAt(0)), size = (tokens * (tokens + 1)) / 2;
  return (index) => (query, key) => (key > query ? 0 : (bytes[index * size + (query * (query + 1)) / 2 + key] / 255) ** 2);
}

const shade = (weight) => mixed(Math.sqrt(weight));

function attention({ tokens, original, points: maps }, names, heads, moved) {
  const shown = tokens.map((token) => token.replace(/\n/g, "⏎"));
  const softmax = triangles(original, tokens.length), cells = names.map((name) => maps[name] && triangles(maps[name], tokens.length));
  const index = () => chosen.layer * heads + chosen.head;
  const words = (query, key) => {
    const parts = [`“${shown[query].trim()}” looks at “${shown[key].trim()}”`, `original: ${percent(softmax(index())(query, key))}`];
    const here = names[chosen.point];
    if (cells[chosen.point]) {
      parts.push(`${here}: ${percent(cells[chosen.point](index())(query, key))}`);
      parts.push(`pulses of this query together: ${number(maps[here].pulses[index() * tokens.length + query], 3)} of full width`);
    }
    return parts.join("\n");
  };
  const marks = [];
  const map = (weights, aria) => (width) => {
    const room = Math.min(width, 560), labels = room >= 440, margin = labels ? 84 : 8;
    const cell = (room - margin - 4) / tokens.length, extent = cell * tokens.length, font = Math.min(12, Math.max(8, cell * 0.85));
    const drawing = frame(room, extent + margin + 4, aria);
    drawing.style.fontSize = `${font}px`;
    const steps = tokens.map((_, i) => `H${margin + (i + 1) * cell}V${2 + (i + 1) * cell}`).join("");
    drawing.append(svg("path", { d: `M${margin},2${steps}H${margin}Z`, fill: "var(--heat-low)" }));
    const of = weights(), targets = [];
    tokens.forEach((_, q) => {
      for (let k = 0; k <= q; k++) {
        const x = margin + k * cell, y = 2 + q * cell, weight = of(q, k);
        if (weight > 0.0005) drawing.append(svg("rect", { x: x.toFixed(2), y: y.toFixed(2), width: (cell - 0.5).toFixed(2), height: (cell - 0.5).toFixed(2), style: `fill:${shade(weight)}` }));
        targets.push({ x: x + cell / 2, y: y + cell / 2, q, k, words: words(q, k), pick: () => choose({ query: q }) });
      }
    });
    const short = (word) => (word.trim().length > 11 ? `${word.trim().slice(0, 10)}…` : word.trim() || "␣");
    if (labels) shown.forEach((word, i) => {
      const at = (i + 0.5) * cell;
      drawing.append(text(margin - 6, at + 2 + font * 0.35, short(word), { "text-anchor": "end" }));
      drawing.append(text(0, 0, short(word), { "text-anchor": "end", transform: `translate(${margin + at + font * 0.35},${extent + 9}) rotate(-90)` }));
    });
    const cross = [svg("rect", { height: cell, x: margin, width: extent }), svg("rect", { width: cell, y: 2, height: extent })];
    for (const bar of cross) { build(bar, { fill: "none", stroke: "var(--series-2)", "stroke-width": 1.5, visibility: "hidden" }, []); drawing.append(bar); }
    marks.push((target) => {
      for (const bar of cross) bar.setAttribute("visibility", target ? "visible" : "hidden");
      if (target) { cross[0].setAttribute("y", 2 + target.q * cell); cross[1].setAttribute("x", margin + target.k * cell); }
    });
    return interact(drawing, targets, { mark: (target) => marks.forEach((each) => each(target)) });
  };
  const strip = (host, weights) => {
    const of = weights();
    host.replaceChildren(...shown.map((token, key) => {
      const asks = key === chosen.query, later = key > chosen.query;
      const button = html("button", { type: "button", class: `${asks ? "asks" : ""} ${later ? "later" : ""}`, "aria-pressed": asks, "data-token": key, style: later ? null : `background:${shade(of(chosen.query, key))};color:${of(chosen.query, key) > 0.36 ? "var(--paper)" : "var(--ink)"}`, "aria-label": later ? token : `${token.trim()}, ${percent(of(chosen.query, key))}` }, token);
      button.addEventListener("click", () => { choose({ query: key }); $(`[data-token="${key}"]`, host).focus(); });
      button.addEventListener("pointerenter", () => { const box = button.getBoundingClientRect(); if (!later) hint(words(chosen.query, key), box.left, box.top); });
      button.addEventListener("pointerleave", unhint);
      return button;
    }));
  };
  const ours = () => cells[chosen.point]?.(index()) ?? (() => 0);
  const drawings = [
    plot($("#map-original"), map(() => softmax(index()), "attention map of the original; arrow keys move")),
    plot($("#map-analog"), map(ours, "attention map in gain cells; arrow keys move")),
  ];
  const strips = () => { strip($("#strip-original"), () => softmax(index())); strip($("#strip-analog"), ours); };
  // Heads that leave their attention on the first token are alike and say nothing.
  const leaves = (i) => { let sum = 0; for (let q = 1; q < tokens.length; q++) sum += softmax(i)(q, 0); return sum < 0.5 * (tokens.length - 1); };
  const extreme = (order) => {
    const found = moved[names[chosen.point]], all = [...found.keys()], some = all.filter(leaves);
    const at = (some.length ? some : all).sort((a, b) => order * (found[a] - found[b]))[0];
    choose({ layer: Math.floor(at / heads), head: at % heads });
  };
  for (const button of document.querySelectorAll("[data-extreme]")) button.addEventListener("click", () => extreme(+button.dataset.extreme));
  chosen.query = tokens.length - 1;
  strips();
  let before = `${chosen.point} ${index()}`;
  redraws.push(() => {
    const now = `${chosen.point} ${index()}`;
    if (now !== before) { marks.length = 0; drawings.forEach((draw) => draw()); }
    before = now;
    strips();
  });
  extreme(1);
}

function headControls({ layers, heads, points, metrics, values, dead, saturated, digital }) {
  const counted = (n) => Array.from({ length: n }, (_, i) => i + 1);
  const layer = $("#choose-layer"), head = $("#choose-head"), metric = $("#choose-metric");
  options(layer, counted(layers), 0);
  options(head, counted(heads), 0);
  options(metric, metrics.map((m) => m.title), 0);
  layer.addEventListener("change", () => choose({ layer: +layer.value }));
  head.addEventListener("change", () => choose({ head: +head.value }));
  metric.addEventListener("change", () => choose({ metric: +metric.value }));
  const selects = document.querySelectorAll(".choose-point");
  for (const select of selects) {
    options(select, points, 0);
    select.addEventListener("change", () => choose({ point: +select.value }));
  }
  for (const button of document.querySelectorAll("[data-step]")) {
    const [what, by] = button.dataset.step.split(" ");
    const count = what === "layer" ? layers : heads;
    button.addEventListener("click", () => choose({ [what]: (chosen[what] + +by + count) % count }));
  }
  const tell = () => {
    layer.value = chosen.layer;
    head.value = chosen.head;
    for (const select of selects) select.value = chosen.point;
    const point = points[chosen.point], at = chosen.layer * heads + chosen.head;
    const state = dead[point].includes(at) ? "dead: no pulse at all" : saturated[point].includes(at) ? "saturated" : digital[point].includes(at) ? "digital: attends with softmax" : "alive";
    $("#head-name").textContent = `Layer ${chosen.layer + 1}, head ${chosen.head + 1} at ${point}`;
    for (const name of document.querySelectorAll(".point-name")) name.textContent = point;
    $("#head-facts").replaceChildren(...[["state", state], ...metrics.map((m) => [m.title, m.percent ? percent(values[point][m.key][at]) : number(values[point][m.key][at])])].map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value))));
  };
  redraws.push(tell);
  tell();
}

// All heads as a table, built when somebody opens it.
function headTable(details, { heads, points, metrics, values, dead, saturated, digital }) {
  const fill = () => {
    const point = points[chosen.point], only = $("#only-odd").checked, body = $("tbody", details);
    const count = values[point][metrics[0].key].length;
    const rows = Array.from({ length: count }, (_, i) => i).filter((i) => !only || dead[point].includes(i) || saturated[point].includes(i));
    body.replaceChildren(...rows.map((i) => {
      const state = dead[point].includes(i) ? "dead" : saturated[point].includes(i) ? "saturated" : digital[point].includes(i) ? "digital" : "alive";
      const first = [Math.floor(i / heads) + 1, (i % heads) + 1].map((n) => html("td", { class: "number", "data-value": n }, n));
      const rest = metrics.map((m) => html("td", { class: "number", "data-value": values[point][m.key][i] ?? "" }, m.percent ? percent(values[point][m.key][i]) : number(values[point][m.key][i])));
      return html("tr", {}, ...first, html("td", {}, state), ...rest);
    }));
    $("#no-odd").hidden = rows.length > 0;
  };
  details.addEventListener("toggle", () => details.open && fill());
  $("#only-odd").addEventListener("change", fill);
  redraws.push(() => details.open && fill());
}
