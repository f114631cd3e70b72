// A page opened from a file may start no worker. The script of one then runs in a hidden frame, which
// is of the same origin, and gets its messages through here: so the search works without a server.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      const started = new Promise((resolve) => {
        const begin = () => {
          const inside = frame.contentWindow;
          inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
          inside.importScripts = (...names) =>
            names.reduce((before, name) => before.then(() => added(inside, name)), Promise.resolve());
          added(inside, url).then(() => resolve(inside));
        };
        document.readyState === "loading" ? addEventListener("DOMContentLoaded", begin) : begin();
      });
      document.documentElement.append(frame);
      this.started = started;
    }

    postMessage(data) {
      this.started.then((inside) => inside.dispatchEvent(new MessageEvent("message", { data })));
    }
  };

  const added = (inside, name) =>
    new Promise((resolve, reject) => {
      const script = inside.document.createElement("script");
      Object.assign(script, { src: name, async: false, onload: resolve, onerror: reject });
      inside.document.documentElement.append(script);
    });
}
