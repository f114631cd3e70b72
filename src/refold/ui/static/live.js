// The end of the log is asked for every two seconds (htmx). Nothing moves where nothing is new, and
// a server that answers no more is said.
(() => {
  "use strict";
  const is = (event) => event.detail.elt.id === "live" || event.detail.target?.id === "live";
  const stale = (yes) => { const said = document.getElementById("stale"); if (said) said.hidden = !yes; };

  document.addEventListener("htmx:sendError", (event) => { if (is(event)) stale(true); });
  document.addEventListener("htmx:responseError", (event) => { if (is(event)) stale(true); });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, target } = event.detail;
    if (target.id !== "live" || xhr.status !== 200) return;
    stale(false);
    const answer = new DOMParser().parseFromString(xhr.responseText, "text/html");
    if (answer.getElementById("live")?.dataset.head !== target.dataset.head) return;
    event.detail.shouldSwap = false;
    document.getElementById("as-of").replaceWith(answer.getElementById("as-of"));
  });
})();
