// Light, dark, or as the reader's system has it.

const toggle = $("#theme"), themes = ["auto", "light", "dark"];
toggle.addEventListener("click", () => {
  const next = themes[(themes.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % 3];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  toggle.textContent = `Theme: ${next}`;
});
