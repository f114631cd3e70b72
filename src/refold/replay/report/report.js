"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const filter = document.querySelector("form.filter");
  const targets = all("[data-levels]");

  const apply = () => {
    const wanted = filter.elements.level.value.split(" ").filter(Boolean);
    for (const target of targets) {
      const levels = target.dataset.levels.split(" ");
      target.hidden = wanted.length > 0 && !wanted.some((level) => levels.includes(level));
    }
  };

  const reveal = () => {
    let id = location.hash.slice(1);
    let target = document.getElementById(id);
    if (!target) return;
    for (let at = target; at; at = at.parentElement) {
      if (at.tagName === "DETAILS") at.open = true;
      at.hidden = false;
    }
    target.scrollIntoView({ block: "start" });
  };

  const sortBy = (table, column, ascending) => {
    const body = table.tBodies[0];
    const value = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      const order = x - y || String(x).localeCompare(String(y), "en", { numeric: true });
      return ascending ? order : -order;
    });
    body.append(...rows);
  };

  for (const table of all("table.sortable")) {
    const heads = all("thead th", table);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const ascending = head.getAttribute("aria-sort") === "descending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        sortBy(table, column, ascending);
      });
    });
  }

  const openAll = document.getElementById("open-all");
  openAll.addEventListener("click", () => {
    const found = all("details.conversation").filter((one) => !one.hidden);
    const open = found.some((one) => !one.open);
    for (const one of found) one.open = open;
    openAll.textContent = open ? "Close all" : "Open all";
  });

  filter.hidden = false;
  filter.addEventListener("change", apply);
  window.addEventListener("hashchange", reveal);
  window.addEventListener("beforeprint", () => {
    for (const one of all("details.conversation")) one.open = true;
  });
  reveal();
})();
