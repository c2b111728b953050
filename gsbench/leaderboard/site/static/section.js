/* The page of a section: plots, results, BD-rates. */
"use strict";

(function () {
  const { h, curveStyle, mean, reason, fixed, brief, bytes, seconds, valueNode, spreadRoom, focusable, quantity, onTheme } = window.GSB;
  const section = window.GSB_SECTION;
  const site = document.body.dataset.root;
  const state = { scene: null, hidden: new Set() };

  /** The values of an entry that are shown: of the data set, or of one scene. */
  function scope(entry) {
    return state.scene === null || !entry.s ? entry : entry.s[state.scene] || null;
  }

  const byId = (id) => document.getElementById(id);
  const shownMetrics = section.metrics.filter((metric) => metric.has);

  /* Plots */
  const plots = window.GSB.Plots(section, byId("plots"), (entry) => select(entry, true));
  const preferred = ["psnr", "ssim", "lpips_vgg"].filter((name) => shownMetrics.some((metric) => metric.name === name));
  const plotted = new Set(preferred.length ? preferred : shownMetrics.slice(0, 3).map((metric) => metric.name));

  function chip(label, pressed, onchange, swatch) {
    const button = h("button", { type: "button", class: "chip", "aria-pressed": String(pressed) }, swatch || null, label);
    button.addEventListener("click", () => {
      const now = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(now));
      onchange(now);
    });
    return button;
  }

  function swatch(place) {
    const mark = h("span", { class: "swatch", "aria-hidden": "true", "data-curve": place });
    mark.style.background = curveStyle(place).color;
    return mark;
  }

  onTheme(() => {
    for (const mark of document.querySelectorAll(".swatch[data-curve]")) {
      mark.style.background = curveStyle(Number(mark.dataset.curve)).color;
    }
  });

  function buildControls() {
    const legend = byId("legend");
    const chips = section.curves.map((curve, place) =>
      chip(curve, true, (on) => {
        state.hidden[on ? "delete" : "add"](place);
        plots.update({ hidden: state.hidden });
      }, swatch(place)),
    );
    const toggleAll = (on) => {
      chips.forEach((button) => button.setAttribute("aria-pressed", String(on)));
      state.hidden = new Set(on ? [] : section.curves.keys());
      plots.update({ hidden: state.hidden });
    };
    legend.append(...chips);
    if (chips.length > 3) {
      legend.append(
        h("button", { type: "button", class: "link", onclick: () => toggleAll(true) }, "all"),
        h("button", { type: "button", class: "link", onclick: () => toggleAll(false) }, "none"),
      );
    }
    const metrics = byId("plot-metrics");
    for (const metric of shownMetrics) {
      metrics.append(
        chip(metric.title, plotted.has(metric.name), (on) => {
          plotted[on ? "add" : "delete"](metric.name);
          plots.update({ metrics: [...plotted] });
        }),
      );
    }
    const reference = byId("reference");
    reference.append(h("option", { value: "" }, "none"));
    section.entries.forEach((entry, place) => reference.append(h("option", { value: place }, entry.label)));
    const start = startReference();
    reference.value = start === null ? "" : String(start);
    reference.addEventListener("change", () => plots.update({ reference: section.entries[reference.value] || null }));
    const scenes = byId("scope");
    if (section.scenes.length > 1) {
      scenes.append(h("option", { value: "" }, `mean over ${section.scenes.length} scenes`));
      section.scenes.forEach((scene, place) => scenes.append(h("option", { value: place }, scene.name)));
      scenes.addEventListener("change", () => {
        state.scene = scenes.value === "" ? null : Number(scenes.value);
        plots.update({});
        table.setData(rows());
      });
    } else {
      scenes.closest("label").remove();
    }
    plots.update({ scope, metrics: [...plotted], reference: start === null ? null : section.entries[start] });
  }

  /** The base that others compress; else the anchor's row of the largest size. */
  function startReference() {
    if (section.base.length) return section.base[0];
    if (section.anchor === null) return null;
    let best = null;
    section.entries.forEach((entry, place) => {
      if (entry.curve === section.anchor && mean(quantity(entry, "bytes")) !== null) best = place;
    });
    return best;
  }

  /* Table */
  const COUNTS = { format: (value) => fixed(value, 0) };
  const QUANTITY_COLUMNS = [
    ["gaussians", "Gaussians", COUNTS.format, "Gaussians drawn; for anchor methods the live offsets"],
    ["anchors", "Anchors", COUNTS.format, "Anchors of anchor methods"],
    ["train", "Train", seconds, "Wall-clock time of training, on the machine that the record names"],
    ["encode", "Encode", seconds, "Wall-clock time of encoding"],
    ["decode", "Decode", seconds, "From the artifact to something that renders"],
    ["fps", "FPS", brief, "1000 over the median milliseconds of a held-out view"],
    ["host", "Memory", bytes, "Most main memory that a stage held"],
    ["gpu", "GPU memory", bytes, "Most GPU memory that a stage held"],
  ];

  function rows() {
    return section.entries.map((entry, place) => {
      const of = scope(entry);
      const row = { id: place, entry, of, label: entry.label, trust: entry.trust, scenes: entry.n / entry.of, seeds: entry.seeds.length };
      row.bytes = of ? mean(quantity(of, "bytes")) : null;
      for (const [name] of QUANTITY_COLUMNS) row[name] = of ? mean(quantity(of, name)) : null;
      for (const metric of shownMetrics) row[`m_${metric.name}`] = of ? mean(of.m[metric.name]) : null;
      return row;
    });
  }

  /** Missing values come last, whichever way is sorted. */
  function byNumber(a, b, rowA, rowB, column, direction) {
    const none = (value) => value === null || value === undefined;
    if (none(a) || none(b)) return none(a) && none(b) ? 0 : none(a) === (direction === "asc") ? 1 : -1;
    return a - b;
  }

  function marks(entry, name) {
    const found = [];
    if (state.scene === null && (entry.ties[name] || []).length) {
      const others = entry.ties[name].map((place) => section.entries[place].label).join(", ");
      found.push(h("span", { class: "mark", title: `Within the spread of the seeds of ${others}` }, "\u2248"));
    }
    return h("span", { class: "marks" }, ...found);
  }

  function column(title, field, format, valueOf, extra) {
    const values = section.entries.flatMap((entry) => [entry, ...Object.values(entry.s || {})]).map(valueOf);
    const room = spreadRoom(values, format);
    const marked = section.entries.some((entry) => (entry.ties[extra.tie || field] || []).length);
    return {
      title,
      field,
      hozAlign: "right",
      headerHozAlign: "right",
      sorter: byNumber,
      formatter: (cell) => {
        const { entry, of } = cell.getData();
        const value = of ? valueOf(of) : `no good record of this scene`;
        return valueNode(value === null ? undefined : value, format, marked ? marks(entry, extra.tie || field) : null, room);
      },
      ...extra,
    };
  }

  function labelNode(entry) {
    return h(
      "span",
      { class: "label" },
      swatch(entry.curve),
      h("a", { href: site + entry.href }, entry.method),
      ` ${entry.rate === "default" ? "" : entry.rate}`,
      entry.variant ? h("span", { class: "variant" }, entry.variant) : null,
      entry.pretrained ? h("span", { class: "flag", title: "Weights that ship with the plugin took part in decoding" }, "pretrained") : null,
      entry.perScene.length ? h("span", { class: "flag", title: `Chosen per scene: ${entry.perScene.join(", ")}` }, "per-scene settings") : null,
    );
  }

  function headingOf(metric) {
    if (!metric.unit) return metric.title;
    return metric.title.endsWith(")") ? `${metric.title}, ${metric.unit}` : `${metric.title} (${metric.unit})`;
  }

  function columns() {
    const digits = window.GSB.megabyteDigits(section.entries.map((entry) => mean(quantity(entry, "bytes"))));
    const found = [
      {
        title: "Method and rate", field: "label", frozen: innerWidth > 620, sorter: "string", minWidth: 150,
        formatter: (cell) => labelNode(cell.getData().entry),
      },
      column("MB", "bytes", (value) => fixed(value / 1e6, digits), (of) => quantity(of, "bytes"), {
        tie: "bytes", headerTooltip: "Size of the artifact on disk, 10^6 bytes", tooltip: false,
      }),
    ];
    for (const metric of shownMetrics) {
      const title = headingOf(metric);
      found.push(
        column(title, `m_${metric.name}`, (value) => fixed(value, metric.digits), (of) => of.m[metric.name], {
          tie: metric.name, headerTooltip: metric.text, headerSortStartingDir: metric.up ? "desc" : "asc",
          headerClass: metric.name,
        }),
      );
    }
    found.push({
      title: "Scenes", field: "scenes", hozAlign: "right", headerHozAlign: "right", sorter: "number",
      headerTooltip: "Scenes with a good record, of those of the data set; a mean needs all of them",
      formatter: (cell) => {
        const { n, of } = cell.getData().entry;
        return h("span", { class: n === of ? "" : "warn" }, `${n}/${of}`);
      },
    }, {
      title: "Seeds", field: "seeds", hozAlign: "right", headerHozAlign: "right", sorter: "number",
      headerTooltip: "Seeds that mean and spread are over",
    });
    for (const [name, title, format, text] of QUANTITY_COLUMNS) {
      if (!section.entries.some((entry) => mean(quantity(entry, name)) !== null && mean(quantity(entry, name)) !== undefined)) continue;
      found.push(column(title, name, format, (of) => quantity(of, name), { headerTooltip: text }));
    }
    found.push({
      title: "Status", field: "trust", sorter: "string",
      headerTooltip: "claimed: as the record says; decoded: the artifact was decoded and scored again; reproduced: trained again",
      formatter: (cell) => h("span", { class: `trust ${cell.getValue()}` }, cell.getValue()),
    });
    return found.map((item) => {
      const { tie, headerClass, ...rest } = item;
      return rest;
    });
  }

  let table = null;

  function buildTable() {
    table = new window.Tabulator("#results", {
      data: rows(),
      columns: columns(),
      layout: "fitDataFill",
      maxHeight: "70vh",
      index: "id",
      initialSort: [{ column: "bytes", dir: "asc" }],
      columnDefaults: { headerSortTristate: false, resizable: false },
      placeholder: "No row matches.",
      rowFormatter: focusable,
    });
    table.on("rowClick", (event, row) => {
      if (!event.target.closest("a")) select(row.getData().entry, false);
    });
    table.on("tableBuilt", () => {
      document.documentElement.dataset.table = "ready";
      filter();
    });
    table.on("dataFiltered", (filters, found) => (byId("count").textContent = `${found.length} of ${section.entries.length} rows`));
    for (const id of ["search", "complete", "pareto"]) byId(id).addEventListener("input", filter);
    window.GSB.table = table;
  }

  function filter() {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const complete = byId("complete").checked;
    const front = byId("pareto").checked;
    table.setFilter((row) => {
      const text = `${row.entry.label} ${row.entry.method} ${row.entry.trust}`.toLowerCase();
      return words.every((word) => text.includes(word)) && (!complete || row.entry.n === row.entry.of) && (!front || row.entry.pareto.length > 0);
    });
  }

  /* What is behind a row */
  function select(entry, scroll) {
    const place = section.entries.indexOf(entry);
    const panel = byId("selected");
    const facts = [
      ["Training", entry.iterations ? `${entry.iterations.toLocaleString("en-US")} steps` : null],
      ["Seeds", entry.seeds.length ? entry.seeds.join(", ") : "no seed that all scenes have"],
      ["Chosen per scene", entry.perScene.join(", ") || null],
      ["On the Pareto front", entry.pareto.map((name) => section.metrics.find((metric) => metric.name === name)?.title || name).join(", ") || "in no metric"],
    ];
    for (const [name, others] of Object.entries(entry.ties)) {
      const title = name === "bytes" ? "Size" : section.metrics.find((metric) => metric.name === name)?.title || name;
      facts.push([`${title} within spread of`, others.map((other) => section.entries[other].label).join(", ")]);
    }
    const missing = shownMetrics.filter((metric) => reason(entry.m[metric.name]));
    for (const metric of missing) facts.push([`No ${metric.title}`, reason(entry.m[metric.name])]);
    const scenes = section.scenes.filter((scene, index) => section.scenes.length === 1 || (entry.s && entry.s[index]));
    panel.replaceChildren(
      h("h3", {}, swatch(entry.curve), entry.label),
      h("dl", { class: "facts" }, ...facts.filter(([, text]) => text).flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)])),
      ...entry.notes.map((note) => h("p", { class: "note" }, note)),
      h("p", {}, "Images, bytes by section and provenance: ", ...scenes.flatMap((scene, index) => [
        index ? ", " : "", h("a", { href: `${scene.href}#${encodeURIComponent(entry.key)}` }, scene.name),
      ]), ". Method: ", h("a", { href: site + entry.href }, entry.method), "."),
    );
    panel.hidden = false;
    table.deselectRow();
    table.selectRow(place);
    if (scroll) {
      const row = table.getRow(place);
      if (row) table.scrollToRow(row, "center", false).catch(() => {});
      panel.scrollIntoView({ block: "nearest", behavior: "smooth" });
    }
  }

  /* BD-rates */
  function buildBd() {
    const anchors = [...new Set(section.bd.map((bd) => bd.a))].sort((a, b) => a - b);
    if (!anchors.length) return;
    const anchor = byId("bd-anchor");
    const metric = byId("bd-metric");
    for (const place of anchors) anchor.append(h("option", { value: place }, section.curves[place]));
    anchor.value = String(section.anchor !== null && anchors.includes(section.anchor) ? section.anchor : anchors[0]);
    for (const item of shownMetrics) {
      if (section.bd.some((bd) => bd.m === item.name)) metric.append(h("option", { value: item.name }, item.title));
    }
    anchor.addEventListener("change", drawBd);
    metric.addEventListener("change", drawBd);
    drawBd();
  }

  function drawBd() {
    const anchor = Number(byId("bd-anchor").value);
    const name = byId("bd-metric").value;
    const metric = section.metrics.find((item) => item.name === name);
    const found = section.bd.filter((bd) => bd.a === anchor && bd.m === name);
    found.sort((a, b) => (a.v === null) - (b.v === null) || a.v - b.v || a.c - b.c);
    byId("bd").replaceChildren(...found.map((bd) => bdRow(bd, metric)));
  }

  function percent(value) {
    return `${value > 0 ? "+" : ""}${fixed(value, 1)} %`;
  }

  function share100(share) {
    return h("span", { class: "share" }, `${fixed(100 * share, 0)} %`);
  }

  function bdRow(bd, metric) {
    const several = bd.s.length > 1;
    const single = bd.s[0];
    const share = bd.s.length ? bd.s.reduce((sum, scene) => sum + scene[4], 0) / bd.s.length : 0;
    const value = bd.v === null ? h("td", { class: "num none", title: bd.why }, "n/a") : h("td", { class: "num" }, percent(bd.v));
    const bar = h("span", { class: "meter", "aria-hidden": "true" }, h("span", {}));
    bar.firstChild.style.width = `${100 * share}%`;
    const interval = single && !several && single[3] ? `${fixed(single[3][0], metric.digits)} to ${fixed(single[3][1], metric.digits)}${metric.unit ? ` ${metric.unit}` : ""}` : "";
    const notes = [bd.why, ...bd.care].filter(Boolean).join("; ");
    const details = several
      ? h("details", {}, h("summary", {}, "by scene"), h("ul", { class: "plain" }, ...bd.s.map((scene) => bdScene(scene, metric))))
      : null;
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, swatch(bd.c), section.curves[bd.c]),
      value,
      h("td", { class: "num" }, bar, share100(share)),
      h("td", { class: "num" }, `${bd.n}/${bd.of}`),
      h("td", {}, interval ? h("span", { class: "muted" }, interval) : null, notes ? h("div", { class: "muted" }, notes) : null,
        single && !several ? h("div", { class: "muted" }, pointsText(single)) : null, details),
    );
  }

  function pointsText(scene) {
    const dropped = scene[7] ? `, ${scene[7]} off the front dropped` : "";
    return `${scene[5]} rate ${scene[5] === 1 ? "point" : "points"} against ${scene[6]}${dropped}`;
  }

  function bdScene(scene, metric) {
    const value = scene[1] === null ? `n/a: ${scene[2]}` : percent(scene[1]);
    const overlap = scene[3] ? `, overlap ${fixed(scene[3][0], metric.digits)} to ${fixed(scene[3][1], metric.digits)} (${fixed(100 * scene[4], 0)} %)` : "";
    return h("li", {}, `${scene[0]}: ${value}${overlap}; ${pointsText(scene)}`);
  }

  document.addEventListener("DOMContentLoaded", () => {
    buildTable();
    buildControls();
    buildBd();
    document.documentElement.dataset.page = "ready";
    window.GSB.plots = plots;
  });
})();
