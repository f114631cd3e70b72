// Keys: / search, j and k along the list, ? help; and a page that was waited for is gone into where
// its address says. Everything works without them.
(() => {
  "use strict";
  const typing = (element) => element.matches("input:not([type=checkbox]), textarea, select");

  function step(by) {
    const links = [...document.querySelectorAll("a.open, .step a")].filter((one) => one.matches("a.open, .meta a"));
    if (!links.length) return;
    const at = links.indexOf(document.activeElement);
    links[Math.min(Math.max(at + by, 0), links.length - 1)].focus();
  }

  function isThere() {
    try {
      return !location.hash || document.getElementById(decodeURIComponent(location.hash.slice(1))) !== null;
    } catch {
      return true; // It is no name of anything.
    }
  }

  let isShown = isThere();
  document.addEventListener("htmx:afterSettle", () => {
    if (isShown || !isThere()) return;
    isShown = true;
    location.replace(location.hash);
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const keys = document.getElementById("keys");
    if (event.key === "/") document.getElementById("q")?.focus();
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "?") keys.showModal();
    else return;
    event.preventDefault();
  });
})();
