/* The page of a scene: images side by side, bytes by section, the records behind each number. */
"use strict";

(function () {
  const { h, curveStyle, mean, fixed, brief, bytes, seconds, valueNode, spreadRoom, focusable, quantity, onTheme } = window.GSB;
  const scene = window.GSB_SCENE;
  const site = document.body.dataset.root;
  const byId = (id) => document.getElementById(id);
  const good = scene.entries.filter((entry) => entry.results.length);
  const metrics = scene.metrics.filter((metric) => metric.has);
  const bySize = [...good].sort((a, b) => mean(quantity(a, "bytes")) - mean(quantity(b, "bytes")));

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

  function addressed() {
    const key = decodeURIComponent(location.hash.slice(1));
    return scene.entries.find((entry) => entry.key === key) || null;
  }

  /* Images */
  const images = scene.images;

  function sources(view) {
    const found = [];
    if (images.views[view].truth) found.push({ id: "truth", label: "Ground truth", src: images.views[view].truth });
    for (const entry of bySize) {
      const of = images.renders[entry.key];
      if (!of || typeof of === "string") continue;
      const [render, error] = of.images[view];
      found.push({ id: `r ${entry.key}`, label: entry.label, src: render, entry, view, seed: of.seed });
      if (error) found.push({ id: `e ${entry.key}`, label: `${entry.label}: error`, src: error, entry, view, seed: of.seed, error: true });
    }
    return found;
  }

  function buildImages() {
    const host = byId("images");
    if (!images.views.length) {
      host.replaceChildren(h("p", { class: "empty" }, `No images: ${images.reason}.`));
      return;
    }
    const start = addressed();
    const first = start && images.renders[start.key] && typeof images.renders[start.key] !== "string" ? start : null;
    const state = { view: 0, left: "", right: "" };
    const initial = sources(0);
    const renders = initial.filter((source) => source.entry && !source.error);
    const shown = first ? renders.find((source) => source.entry === first) : renders[0];
    state.left = images.views[0].truth ? "truth" : renders[renders.length - 1].id;
    state.right = shown.id;

    const left = h("select", { id: "left" });
    const right = h("select", { id: "right" });
    const view = h("select", { id: "view" });
    images.views.forEach((of, place) => view.append(h("option", { value: place }, of.name)));
    for (const select of [left, right]) fill(select, initial);
    left.value = state.left;
    right.value = state.right;
    const firstImage = h("img", { slot: "first", alt: "", draggable: "false" });
    const secondImage = h("img", { slot: "second", alt: "", draggable: "false" });
    const slider = h("img-comparison-slider", { tabindex: "0", "aria-label": "Slider between the two images; arrow keys move it" }, firstImage, secondImage);
    const caption = h("div", { class: "captions" }, h("p", { class: "caption" }), h("p", { class: "caption end" }));
    const frame = h("div", { class: "compare" }, slider);
    const big = h("button", { type: "button", class: "link" }, "show at actual size");
    big.addEventListener("click", () => {
      big.textContent = frame.classList.toggle("actual") ? "fit to the page" : "show at actual size";
    });
    host.replaceChildren(
      h("div", { class: "controls" }, h("label", {}, "View ", view), h("label", {}, "Left ", left), h("label", {}, "Right ", right), big),
      frame,
      caption,
    );

    firstImage.addEventListener("load", () => {
      // Small images are not blown up to more than twice their size.
      host.style.setProperty("--widest", `${2 * firstImage.naturalWidth}px`);
    });

    function draw() {
      const found = sources(Number(view.value));
      const pair = [left, right].map((select) => found.find((source) => source.id === select.value) || found[0]);
      firstImage.src = site + pair[0].src;
      secondImage.src = site + pair[1].src;
      firstImage.alt = pair[0].label;
      secondImage.alt = pair[1].label;
      pair.forEach((source, side) => caption.children[side].replaceChildren(...captionOf(source)));
    }
    for (const select of [view, left, right]) select.addEventListener("change", draw);
    byId("error-scale").hidden = !initial.some((source) => source.error);
    draw();
    const missing = bySize.filter((entry) => typeof images.renders[entry.key] === "string");
    if (images.quality) host.append(h("p", { class: "note" }, `These images are stored as WebP of quality ${images.quality}; the numbers are those of the renders themselves.`));
    if (images.reason) host.append(h("p", { class: "note" }, `No ground truth: ${images.reason}.`));
    for (const entry of missing) host.append(h("p", { class: "note" }, `No images of ${entry.label}: ${images.renders[entry.key]}.`));
  }

  function fill(select, found) {
    const groups = [
      ["", found.filter((source) => !source.entry)],
      ["Renders", found.filter((source) => source.entry && !source.error)],
      ["Error maps", found.filter((source) => source.error)],
    ];
    for (const [title, members] of groups) {
      const target = title && members.length ? h("optgroup", { label: title }) : select;
      for (const source of members) target.append(h("option", { value: source.id }, source.label));
      if (target !== select) select.append(target);
    }
  }

  function captionOf(source) {
    if (!source.entry) return [h("strong", {}, "Ground truth")];
    const result = source.entry.results.find((of) => of.seed === source.seed);
    const values = (result && result.views[source.view]) || {};
    const texts = metrics
      .filter((metric) => ["psnr", "ssim", "lpips_vgg"].includes(metric.name) && values[metric.name] !== undefined)
      .map((metric) => `${metric.title} ${fixed(values[metric.name], metric.digits)}${metric.unit ? ` ${metric.unit}` : ""}`);
    if (result) texts.unshift(bytes(result.bytes));
    return [swatch(source.entry.curve), h("strong", {}, source.label), h("span", { class: "muted" }, ` ${texts.join(", ")}, seed ${source.seed}`)];
  }

  /* Bytes by section */
  const PARTS_SHOWN = 24;

  function buildParts() {
    const host = byId("parts");
    const withParts = bySize.filter((entry) => entry.parts.length);
    if (!withParts.length) {
      host.replaceChildren(h("p", { class: "empty" }, "No record says which sections its artifact has."));
      return;
    }
    const relative = byId("relative");
    const more = h("button", { type: "button", class: "link", onclick: () => { all = true; draw(); } }, `show all ${withParts.length}`);
    let all = withParts.length <= PARTS_SHOWN;
    relative.addEventListener("change", draw);
    function draw() {
      const shown = all ? withParts : withParts.slice(0, PARTS_SHOWN);
      const largest = Math.max(...shown.map((entry) => total(entry)));
      host.replaceChildren(...shown.map((entry) => bar(entry, relative.checked ? total(entry) : largest)), all ? "" : more);
    }
    draw();
  }

  const total = (entry) => entry.parts.reduce((sum, [, size]) => sum + size, 0);

  function bar(entry, full) {
    const ordered = [...entry.parts].sort((a, b) => b[1] - a[1]);
    const track = h("div", { class: "track" });
    const legend = h("div", { class: "parts-legend" });
    ordered.forEach(([name, size], place) => {
      const share = size / total(entry);
      const piece = h("span", { class: `piece p${Math.min(place, 7)}`, title: `${name}: ${bytes(size)} (${fixed(100 * share, 1)} %)` });
      piece.style.width = `${(100 * size) / full}%`;
      track.append(piece);
      if (place < 7 && share >= 0.005) {
        legend.append(h("span", {}, h("span", { class: `dot p${place}`, "aria-hidden": "true" }), `${name} ${bytes(size)}`));
      }
    });
    const small = ordered.filter(([, size], place) => place >= 7 || size / total(entry) < 0.005);
    if (small.length) {
      const rest = small.reduce((sum, [, size]) => sum + size, 0);
      legend.append(h("span", { title: small.map(([name, size]) => `${name} ${bytes(size)}`).join(", ") }, `${small.length} more ${bytes(rest)}`));
    }
    return h("div", { class: "part-row" },
      h("div", { class: "part-name" }, swatch(entry.curve), entry.label, h("span", { class: "muted" }, ` ${bytes(total(entry))}`)), track, legend);
  }

  /* Results and what is behind them */
  function resultRows() {
    return scene.entries.flatMap((entry) => [
      ...entry.results.map((result) => ({ id: result.name, entry, result, label: entry.label })),
      ...entry.failed.map((failed) => ({ id: failed.name, entry, failed, label: entry.label })),
    ]).map((row) => ({
      ...row,
      seed: (row.result || row.failed).seed,
      bytes: row.result ? row.result.bytes : null,
      status: row.result ? row.result.trust : row.failed.status,
    }));
  }

  function byNumber(a, b, rowA, rowB, column, direction) {
    const none = (value) => value === null || value === undefined;
    if (none(a) || none(b)) return none(a) && none(b) ? 0 : none(a) === (direction === "asc") ? 1 : -1;
    return a - b;
  }

  function entryRows() {
    return good.map((entry, id) => {
      const row = { id, entry, label: entry.label };
      for (const name of ["bytes", "gaussians", "train", "encode", "decode", "fps", "host", "gpu"]) row[name] = mean(quantity(entry, name));
      row.render = mean(entry.render);
      for (const metric of metrics) row[`m_${metric.name}`] = mean(entry.m[metric.name]);
      return row;
    });
  }

  function number(title, field, format, valueOf, text) {
    const room = spreadRoom(good.map(valueOf), format);
    return {
      title, field, hozAlign: "right", headerHozAlign: "right", sorter: byNumber, headerTooltip: text || false,
      formatter: (cell) => valueNode(valueOf(cell.getData().entry), format, null, room),
    };
  }

  const NAME = {
    title: "Method and rate", field: "label", sorter: "string", frozen: innerWidth > 620, minWidth: 150,
    formatter: (cell) => {
      const { entry } = cell.getData();
      return h("span", { class: "label" }, swatch(entry.curve), entry.label);
    },
  };

  function buildTables() {
    const has = (name) => good.some((entry) => mean(quantity(entry, name)) !== null && mean(quantity(entry, name)) !== undefined);
    const integer = (value) => fixed(value, 0);
    const digits = window.GSB.megabyteDigits(good.map((entry) => mean(quantity(entry, "bytes"))));
    const shared = { layout: "fitDataFill", maxHeight: "60vh", columnDefaults: { headerSortTristate: false, resizable: false }, index: "id" };
    new window.Tabulator("#quality", {
      ...shared,
      data: entryRows(),
      placeholder: "No good record.",
      initialSort: [{ column: "bytes", dir: "asc" }],
      columns: [
        NAME,
        number("MB", "bytes", (value) => fixed(value / 1e6, digits), (entry) => quantity(entry, "bytes")),
        ...metrics.map((metric) => number(metric.unit ? `${metric.title}, ${metric.unit}` : metric.title, `m_${metric.name}`,
          (value) => fixed(value, metric.digits), (entry) => entry.m[metric.name], metric.text)),
        number("Gaussians", "gaussians", integer, (entry) => quantity(entry, "gaussians")),
        number("Train", "train", seconds, (entry) => quantity(entry, "train"), "Wall-clock time"),
        number("Encode", "encode", seconds, (entry) => quantity(entry, "encode"), "Wall-clock time"),
        number("Decode", "decode", seconds, (entry) => quantity(entry, "decode"), "Wall-clock time"),
        number("ms per view", "render", brief, (entry) => entry.render, "Median over the held-out views"),
        number("FPS", "fps", brief, (entry) => quantity(entry, "fps"), "1000 over the median milliseconds"),
        number("Memory", "host", bytes, (entry) => quantity(entry, "host"), "Most main memory that a stage held"),
        ...(has("gpu") ? [number("GPU memory", "gpu", bytes, (entry) => quantity(entry, "gpu"), "Most GPU memory that a stage held")] : []),
      ],
    });
    const records = new window.Tabulator("#records", {
      ...shared,
      data: resultRows(),
      initialSort: [{ column: "label", dir: "asc" }],
      rowFormatter: focusable,
      columns: [
        NAME,
        { title: "Seed", field: "seed", hozAlign: "right", headerHozAlign: "right", sorter: "number" },
        { title: "Bytes", field: "bytes", hozAlign: "right", headerHozAlign: "right", sorter: byNumber,
          formatter: (cell) => (cell.getValue() === null ? h("span", { class: "none" }, "\u2014") : fixed(cell.getValue(), 0)) },
        { title: "Status", field: "status", sorter: "string",
          formatter: (cell) => h("span", { class: `trust ${cell.getValue()}` }, cell.getValue()) },
        { title: "Artifact (SHA-256)", field: "sha", headerSort: false,
          formatter: (cell) => {
            const { result } = cell.getData();
            return h("code", {}, result && result.sha ? result.sha.slice(0, 12) : "\u2014");
          } },
        { title: "Download", field: "download", headerSort: false, formatter: (cell) => downloads(cell.getData()) },
      ],
    });
    records.on("rowClick", (event, row) => {
      if (!event.target.closest("a")) provenance(row.getData());
    });
    records.on("tableBuilt", () => {
      document.documentElement.dataset.table = "ready";
      const start = addressed();
      const row = start && resultRows().find((of) => of.entry === start);
      if (row) {
        provenance(row);
        records.selectRow(row.id);
      }
    });
    records.on("rowClick", (event, row) => {
      records.deselectRow();
      row.select();
    });
    window.GSB.table = records;
  }

  function downloads(row) {
    const of = row.result || row.failed;
    const parts = [];
    if (row.result && row.result.artifact) parts.push(h("a", { href: site + row.result.artifact, download: true }, `artifact ${row.result.suffix}`));
    if (of.record) parts.push(h("a", { href: site + of.record, download: true }, "record"));
    return h("span", { class: "links" }, ...parts);
  }

  function environmentText(place) {
    if (place === null || place === undefined) return null;
    const of = scene.environments[place];
    return [
      of.cpu, of.isa, `${of.threads} ${of.threads === 1 ? "thread" : "threads"}`, of.gpu, of.driver && `driver ${of.driver}`,
      `torch ${of.torch}`, `Python ${of.python}`, `gsbench ${of.gsbench}`, `native build ${of.native_build}`,
    ].filter(Boolean).join(", ");
  }

  const TRUST = {
    claimed: "claimed: the numbers are those of the record",
    decoded: "decoded: somebody decoded the artifact again in a sealed process, rendered and scored it, and found the record's numbers",
    reproduced: "reproduced: somebody repeated the training as well, and found the record's numbers",
  };

  function provenance(row) {
    const panel = byId("provenance");
    const of = row.result;
    const facts = of ? [
      ["Status", TRUST[of.trust]],
      ["Artifact", of.sha ? [h("code", {}, of.sha), ` ${fixed(of.bytes, 0)} bytes; `, of.checked ? "the file is here and was checked" : "the file is not here"] : null],
      ["Decoded tensors", of.decoded ? [h("code", {}, of.decoded)] : null],
      ["Scene", of.scene ? [h("code", {}, of.scene)] : null],
      ["Record", [h("code", {}, of.recordSha), ` ${of.name}`]],
      ["Plugin", [`${of.plugin[0]} ${of.plugin[1]}, sources `, h("code", {}, of.plugin[2])]],
      ["Commit of gsbench", of.commit ? [h("code", {}, of.commit)] : "not recorded (an installed release)"],
      ["Environment", environmentText(of.env)],
      ["Isolation of the decoder", of.isolation],
      ["Training interrupted", of.resumed ? `${of.resumed} times, and resumed from a checkpoint` : null],
      ["Verified by", of.verified ? `gsbench ${of.verified.gsbench} on ${environmentText(of.verified.env)}` : null],
      ["Differences found", of.verified ? Object.entries(of.verified.differences).map(([name, value]) => `${name} ${value}`).join(", ") : null],
    ] : [
      ["Status", row.failed.status],
      ["Stage", row.failed.stage],
      ["Reason", row.failed.message],
      ["Record", row.failed.name],
    ];
    const command = h("pre", { class: "command" }, h("code", {}, (of || row.failed).rerun));
    panel.replaceChildren(
      h("h3", {}, swatch(row.entry.curve), `${row.entry.label}, seed ${row.seed}`),
      h("dl", { class: "facts" }, ...facts.filter(([, text]) => text).flatMap(([name, text]) => [
        h("dt", {}, name), h("dd", {}, ...(Array.isArray(text) ? text : [text])),
      ])),
      h("p", {}, "Run it again:"),
      command,
    );
    window.GSB.addCopyButton(command);
    panel.hidden = false;
  }

  document.addEventListener("DOMContentLoaded", () => {
    buildImages();
    buildParts();
    buildTables();
    document.documentElement.dataset.page = "ready";
  });
})();
