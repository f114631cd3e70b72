"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, properties = {}) => Object.assign(document.createElement(tag), properties);
  const filter = document.querySelector("form.filter");

  // A page of a list is zlib (RFC 1950) in base64, as text of a template.
  const unpacked = async (template) => {
    const bytes = Uint8Array.from(atob(template.content.textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const holder = make("template");
    holder.innerHTML = await new Response(stream).text();
    return [...holder.content.children];
  };

  class Pages {
    constructor(wrapper) {
      this.list = wrapper.querySelector("[data-items]");
      this.size = Number(wrapper.dataset.size);
      this.count = Number(wrapper.dataset.count);
      this.templates = all(":scope > template", wrapper);
      this.first = [...this.list.children];
      this.arranged = null;
      this.at = 0;
      if (this.templates.length) this.addButtons(wrapper);
    }

    addButtons(wrapper) {
      const button = (text, label, by) => {
        const made = make("button", { type: "button", textContent: text, ariaLabel: label });
        made.addEventListener("click", () => this.show(this.at + by));
        return made;
      };
      this.buttons = [button("‹", "Earlier", -1), button("›", "Later", 1)];
      this.said = make("span", { role: "status" });
      const bar = make("nav", { className: "pages" });
      bar.append(this.buttons[0], this.said, this.buttons[1]);
      wrapper.append(bar);
      this.tell();
    }

    tell() {
      if (!this.buttons) return;
      const count = this.arranged?.length ?? this.count;
      const from = this.at * this.size;
      const to = Math.min(count, from + this.size);
      const number = (value) => value.toLocaleString("en");
      this.said.textContent = `${number(Math.min(from + 1, count))} to ${number(to)} of ${number(count)}`;
      this.buttons[0].disabled = this.at === 0;
      this.buttons[1].disabled = to >= count;
    }

    page(number) {
      if (this.arranged) return this.arranged.slice(number * this.size, (number + 1) * this.size);
      return number === 0 ? this.first : unpacked(this.templates[number - 1]);
    }

    async show(number) {
      const items = await this.page(number);
      this.at = number;
      this.list.replaceChildren(...items);
      this.tell();
      if (this.list.matches(":not(tbody)")) apply();
    }

    // All items, in an order and number of the caller's; without a function as they were.
    async arrange(change) {
      this.every ??= [...this.first, ...(await Promise.all(this.templates.map(unpacked))).flat()];
      this.arranged = change(this.every);
      await this.show(0);
    }
  }

  const lists = all(".paged").map((wrapper) => new Pages(wrapper));
  const rows = lists.find((pages) => pages.list.matches(".sortable tbody"));
  const turns = lists.find((pages) => pages.list.closest("#side-by-side"));
  let order = null;

  const wanted = () => filter.elements.level.value.split(" ").filter(Boolean);
  const fits = (item) => {
    const levels = item.dataset.levels.split(" ");
    return wanted().length === 0 || wanted().some((level) => levels.includes(level));
  };

  const apply = () => {
    for (const item of all("[data-levels]", turns.list)) item.hidden = !fits(item);
  };

  const arrangeRows = () =>
    rows.arrange((every) => {
      const found = every.filter(fits);
      return order ? found.sort(order) : found;
    });

  // The page of turns that an anchor is on: those of a conversation begin with its name.
  const pageOf = (id) => {
    const pages = turns.templates.map((template) => template.dataset.names.split(" "));
    for (let name = id.replace(/^conversation:/, ""); name; name = name.slice(0, Math.max(0, name.search(/[@:][^@:]*$/)))) {
      const found = pages.findIndex((names) => names.includes(`conversation:${name}`));
      if (found >= 0) return found + 1;
    }
    return 0;
  };

  const reveal = async () => {
    const id = location.hash.slice(1);
    if (!id) return;
    if (!document.getElementById(id)) await turns.show(pageOf(id));
    const target = document.getElementById(id);
    if (!target) return;
    for (let at = target; at; at = at.parentElement) {
      if (at.tagName === "DETAILS") at.open = true;
      at.hidden = false;
    }
    // What groups several lists has them open too.
    for (const one of all(":scope > details:not(.conversation)", target)) one.open = true;
    target.scrollIntoView({ block: "start" });
  };

  const heads = all("thead th", rows.list.parentElement);
  heads.forEach((head, column) => {
    const button = make("button", { type: "button" });
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const ascending = head.getAttribute("aria-sort") === "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const value = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
      order = (a, b) => {
        const [x, y] = [value(a), value(b)];
        const found = x - y || String(x).localeCompare(String(y), "en", { numeric: true });
        return ascending ? found : -found;
      };
      arrangeRows();
    });
  });

  const openAll = document.getElementById("open-all");
  openAll.addEventListener("click", () => {
    const found = all("details.conversation").filter((one) => !one.hidden);
    const open = found.some((one) => !one.open);
    for (const one of found) one.open = open;
    openAll.textContent = open ? "Close all" : "Open all";
  });

  filter.hidden = false;
  filter.addEventListener("change", () => {
    apply();
    arrangeRows();
  });
  window.addEventListener("hashchange", reveal);
  window.addEventListener("beforeprint", () => {
    for (const one of all("details.conversation")) one.open = true;
  });
  reveal();
})();
