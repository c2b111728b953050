/* What all pages share: the theme, elements, numbers, colors of methods. No module, no fetch: pages are opened from disk. */
"use strict";

(function () {
  const root = document.documentElement;
  const listeners = [];

  /** An element with attributes (on* are listeners) and children (elements, or text that is never read as HTML). */
  function h(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  function stored(key, value) {
    // Browsers may refuse storage to pages from disk.
    try {
      if (value === undefined) return localStorage.getItem(key);
      localStorage.setItem(key, value);
    } catch (error) {
      return null;
    }
    return null;
  }

  const systemDark = matchMedia("(prefers-color-scheme: dark)");

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches;
  }

  function announceTheme() {
    const button = document.getElementById("theme");
    if (button) button.setAttribute("aria-label", isDark() ? "Switch to light colors" : "Switch to dark colors");
    for (const listener of listeners) listener();
  }

  const chosen = stored("gsbench-theme");
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;
  systemDark.addEventListener("change", announceTheme);

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (button) {
      button.hidden = false;
      button.addEventListener("click", () => {
        root.dataset.theme = isDark() ? "light" : "dark";
        stored("gsbench-theme", root.dataset.theme);
        announceTheme();
      });
    }
    for (const block of document.querySelectorAll("pre.command")) addCopyButton(block);
    announceTheme();
  });

  function addCopyButton(block) {
    const text = block.textContent;
    const button = h("button", { type: "button", class: "copy", onclick: copy }, "Copy");
    async function copy() {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch (error) {
        // Not allowed here: select it, so that the keyboard can copy it.
        const range = document.createRange();
        range.selectNodeContents(block.querySelector("code") || block);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        button.textContent = "Selected";
      }
      setTimeout(() => (button.textContent = "Copy"), 1500);
    }
    block.append(button);
  }

  /* Eight hues that differ in lightness too, for either background; shapes and dashes go on from there. */
  const LIGHT = ["#2563b8", "#c2570c", "#15803d", "#8b3fb5", "#be123c", "#0e7490", "#8a6d00", "#9d5c63"];
  const DARK = ["#7fb2f5", "#f5a15c", "#6fcf97", "#cf9bec", "#f58aa0", "#5fc9de", "#e0c45c", "#d9a5aa"];
  const SHAPES = ["circle", "rect", "triangle", "rectRot", "star", "crossRot"];

  function curveStyle(place) {
    const palette = isDark() ? DARK : LIGHT;
    const round = Math.floor(place / palette.length);
    return {
      color: palette[place % palette.length],
      shape: SHAPES[(place + round) % SHAPES.length],
      dash: round % 3 === 0 ? [] : round % 3 === 1 ? [6, 3] : [2, 3],
    };
  }

  function variable(name) {
    return getComputedStyle(root).getPropertyValue(name).trim();
  }

  /* Numbers. A value is [mean], [mean, spread, seeds], or text: the reason why there is none. */
  const mean = (value) => (Array.isArray(value) ? value[0] : null);
  const spread = (value) => (Array.isArray(value) && value.length > 1 ? value[1] : null);
  const reason = (value) => (typeof value === "string" ? value : "");

  /* Making a format takes far longer than using it. */
  const formats = new Map();

  function fixed(value, digits) {
    if (!formats.has(digits)) {
      formats.set(digits, new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
    }
    return formats.get(digits).format(value).replace("-", "\u2212");
  }

  /** As many decimals as three significant digits need, at most `most`. */
  function digitsFor(value, most) {
    if (value === 0) return 0;
    return Math.max(0, Math.min(most, 2 - Math.floor(Math.log10(Math.abs(value)))));
  }

  /* `mean` is given for a spread, which is shown with the unit and the decimals of its mean. */
  function brief(value, mean) {
    return fixed(value, digitsFor(mean || value, 4));
  }

  /** Decimals of a column of sizes in MB: the smallest has three significant digits. */
  function megabyteDigits(sizes) {
    const smallest = sizes.reduce((least, size) => (size > 0 ? Math.min(least, size) : least), 1e9) / 1e6;
    return Math.max(1, Math.min(6, 2 - Math.floor(Math.log10(smallest))));
  }

  function withUnit(value, mean, units) {
    const [size, name] = units.find(([least]) => (mean || value) >= least) || units[units.length - 1];
    return brief(value / size, (mean || value) / size) + (mean === undefined ? `\u00a0${name}` : "");
  }

  function bytes(count, mean) {
    return withUnit(count, mean, [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"], [1, "bytes"]]);
  }

  function seconds(value, mean) {
    const unit = (mean || value) >= 5400 ? [3600, "h"] : (mean || value) >= 90 ? [60, "min"] : (mean || value) >= 1 ? [1, "s"] : [1e-3, "ms"];
    return withUnit(value, mean, [unit]);
  }

  const spreadText = (value, format) => (spread(value) ? `\u00b1${format(spread(value), mean(value))}` : "");

  /** Characters of the longest spread in a column of values. */
  function spreadRoom(values, format) {
    const step = Math.ceil(values.length / 3000); // a sample is enough for the room
    let room = 0;
    for (let i = 0; i < values.length; i += step) room = Math.max(room, spreadText(values[i], format).length);
    return room;
  }

  /** Mean and, smaller, the spread (for which `room` characters are left in every row, so that means line up); a dash
      with its reason where there is no value. */
  function valueNode(value, format, marks, room) {
    const number = mean(value);
    if (number === null || number === undefined) {
      return h("span", { class: "none", title: reason(value) || "not recorded" }, "\u2014");
    }
    const deviation = room ? h("span", { class: "spread" }, spreadText(value, format)) : null;
    if (deviation) deviation.style.minWidth = `calc(${room}ch + 0.4em)`;
    return h("span", { class: "value" }, h("span", { class: "mean" }, format(number)), deviation, marks || null);
  }

  /** Lets the keyboard choose rows of a table, as a click does. */
  function focusable(row) {
    const element = row.getElement();
    if (element.tabIndex === 0) return;
    element.tabIndex = 0;
    element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target === element) element.click();
    });
  }

  /** The values of a row beside its metrics; the order is that of gsbench.leaderboard.site.payload.QUANTITIES. */
  const QUANTITIES = ["bytes", "gaussians", "anchors", "train", "encode", "decode", "fps", "host", "gpu"];

  function quantity(row, name) {
    return row.q[QUANTITIES.indexOf(name)];
  }

  window.GSB = {
    h, isDark, curveStyle, variable, mean, spread, reason, fixed, brief, bytes, seconds, megabyteDigits, valueNode, spreadRoom, focusable, quantity, addCopyButton,
    onTheme: (listener) => listeners.push(listener),
  };
})();
