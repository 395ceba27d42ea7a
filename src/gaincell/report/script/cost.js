// Which plot goes where on the page of an estimate.

{
  const { layers, parts, phases, area, energy, elsewhere } = data;
  const calm = [0, 1, 2, 4, 3, 5, 6], named = Object.fromEntries(parts.map((part, i) => [part, series(calm[i % 7])]));
  legend($("#legend-energy"), Object.entries(named));
  stackPlot($("#plot-energy"), { bars: layers.map((of, i) => ({ label: `layer ${i + 1}, nJ`, parts: of })), colours: named, label: "layer", unit: "energy of one token (nJ)", aria: "energy of every layer by part; arrow keys move" });
  rowPlot($("#plot-phases"), { rows: phases.map((phase) => ({ label: phase.name, value: `${number(phase.end - phase.start)} ns`, marks: [{ at: phase.start, to: phase.end, colour: "var(--series-1)", words: phase.words }] })), domain: [0, Math.max(...phases.map((phase) => phase.end))], label: "time since the token's key and value came (ns)", aria: "what a head does during one token; arrow keys go through the phases" });
  const shares = (host, rows, label, unit, aria) => rowPlot($(host), { rows: rows.map((row) => ({ label: row.name, value: `${number(row.value)} ${unit}`, marks: [{ at: 0, to: row.value, colour: "var(--series-1)", words: row.words }] })), domain: [0, Math.max(...rows.map((row) => row.value), 1e-30)], label, aria });
  shares("#plot-parts", energy, "energy of one token, all layers (nJ)", "nJ", "energy by component; arrow keys go through them");
  shares("#plot-area", area, "area of all arrays (mm²)", "mm²", "area by component; arrow keys go through them");
  const ranges = (host, rows, label, aria) => {
    const all = rows.flatMap((row) => [row.low, row.high]);
    rowPlot($(host), { rows: rows.map((row, i) => ({ label: row.name, strong: i === 0, marks: [{ at: Math.sqrt(row.low * row.high), low: row.low, high: row.high, colour: i ? "var(--series-2)" : "var(--series-1)", words: row.words }] })), domain: [Math.min(...all) / 2, Math.max(...all) * 2], log: true, label, aria });
  };
  ranges("#plot-elsewhere-energy", elsewhere.energy, "energy of one token (µJ), logarithmic", "energy elsewhere; arrow keys go through them");
  ranges("#plot-elsewhere-time", elsewhere.time, "time of one token (µs), logarithmic", "time elsewhere; arrow keys go through them");
}
