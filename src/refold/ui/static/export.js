// The search box of a copy without a server: rows of this page that say the words stay.
(() => {
  "use strict";
  const box = document.getElementById("q");
  if (!box) return;
  document.getElementById("filter").hidden = false;
  const rows = [...document.querySelectorAll("table.list tbody tr")];
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const said = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => said.includes(word));
    }
  });
})();
