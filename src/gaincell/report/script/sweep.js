// Every choice as a dot; those that no other beats are filled, the others hollow.

for (const [host, other, unit] of [["#plot-area", "area", "area (mm²)"], ["#plot-energy", "energy", "energy of one token (µJ)"]]) {
  const points = [...data.points].sort((a, b) => a.latency - b.latency);
  linePlot($(host), {
    lines: points.map((point) => ({ name: `${point.name}${point.best ? "" : " (beaten)"}`, points: [[point.latency, point[other]]], dots: true, only: true, hollow: !point.best, colour: point.best ? "var(--series-1)" : "var(--series-5)" })),
    x: { label: "time of one token (µs)" }, y: { label: unit, log: true }, tell: (at) => `${number(at)} µs`, aria: `${unit} against time; arrow keys move`,
  });
}
legend($("#legend"), [["beaten by none", "var(--series-1)", "round"], ["beaten", "var(--series-5)", "round"]]);
