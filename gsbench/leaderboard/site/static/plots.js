/* Rate-distortion plots of a section: one per metric, log MB against quality. */
"use strict";

(function () {
  const { h, curveStyle, variable, mean, spread, fixed, brief, quantity, onTheme } = window.GSB;

  /** Ticks at 1, 2 and 5 times powers of ten; all digits where that gives too few. */
  function logTicks(low, high) {
    for (const steps of [[1], [1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9], finer()]) {
      const found = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
        for (const step of steps) {
          const value = Number((step * 10 ** power).toPrecision(6));
          if (value >= low && value <= high) found.push(value);
        }
      }
      if (found.length >= 4) return found.length <= 12 ? found : found.filter((_, i) => i % Math.ceil(found.length / 12) === 0);
    }
    return [low, high];
  }

  function finer() {
    return Array.from({ length: 90 }, (_, i) => 1 + i / 10);
  }

  function tickText(value) {
    return value >= 1 ? value.toLocaleString("en-US", { maximumFractionDigits: 2 }) : String(Number(value.toPrecision(3)));
  }

  /** Bars for the spread over seeds, in both directions. */
  const spreadBars = {
    id: "spreadBars",
    beforeDatasetsDraw(chart) {
      const { ctx, chartArea: area, scales } = chart;
      ctx.save();
      ctx.beginPath();
      ctx.rect(area.left, area.top, area.width, area.height);
      ctx.clip();
      ctx.lineWidth = 1.25;
      chart.data.datasets.forEach((dataset, place) => {
        if (!dataset.spreads || !chart.isDatasetVisible(place)) return;
        ctx.strokeStyle = dataset.borderColor;
        ctx.globalAlpha = 0.55;
        dataset.data.forEach((point) => {
          const x = scales.x.getPixelForValue(point.x);
          const y = scales.y.getPixelForValue(point.y);
          ctx.beginPath();
          if (point.sy) {
            ctx.moveTo(x, scales.y.getPixelForValue(point.y - point.sy));
            ctx.lineTo(x, scales.y.getPixelForValue(point.y + point.sy));
          }
          if (point.sx && point.sx < point.x) {
            ctx.moveTo(scales.x.getPixelForValue(point.x - point.sx), y);
            ctx.lineTo(scales.x.getPixelForValue(point.x + point.sx), y);
          }
          ctx.stroke();
        });
      });
      ctx.restore();
    },
  };

  /** A line through the value of the row that was chosen as reference. */
  const referenceLine = {
    id: "referenceLine",
    beforeDatasetsDraw(chart) {
      const reference = chart.options.reference;
      if (!reference) return;
      const { ctx, chartArea: area, scales } = chart;
      const y = scales.y.getPixelForValue(reference.y);
      if (y < area.top || y > area.bottom) return;
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = variable("--muted");
      ctx.setLineDash([1, 3]);
      ctx.lineWidth = 1.5;
      ctx.beginPath();
      ctx.moveTo(area.left, y);
      ctx.lineTo(area.right, y);
      ctx.stroke();
      ctx.font = `12px ${window.Chart.defaults.font.family}`;
      ctx.textAlign = "right";
      const above = y - area.top > 20;
      const width = ctx.measureText(reference.label).width;
      ctx.globalAlpha = 0.85;
      ctx.fillStyle = variable("--bg");
      ctx.fillRect(area.right - width - 8, above ? y - 18 : y + 2, width + 8, 16);
      ctx.globalAlpha = 1;
      ctx.fillStyle = ctx.strokeStyle;
      ctx.textBaseline = "middle";
      ctx.fillText(reference.label, area.right - 4, above ? y - 9 : y + 11);
      ctx.restore();
    },
  };

  function points(section, metric, scope) {
    const found = [];
    section.entries.forEach((entry) => {
      const of = scope(entry);
      if (!of) return;
      const size = mean(quantity(of, "bytes"));
      const quality = mean(of.m[metric.name]);
      if (size === null || size === undefined || !(size > 0) || quality === null || quality === undefined) return;
      found.push({
        x: size / 1e6,
        y: quality,
        sx: (spread(quantity(of, "bytes")) || 0) / 1e6,
        sy: spread(of.m[metric.name]) || 0,
        entry,
        of,
      });
    });
    return found.sort((a, b) => a.x - b.x || a.y - b.y);
  }

  /** Points that no other is both as small and as good as, and better in one of the two. */
  function paretoFront(all, up) {
    const front = [];
    for (const point of all) {
      const last = front[front.length - 1];
      if (last && last.x === point.x && (up ? point.y > last.y : point.y < last.y)) front.pop();
      const best = front[front.length - 1];
      if (!best || (up ? point.y > best.y : point.y < best.y)) front.push(point);
    }
    return front;
  }

  function datasets(section, metric, all, hidden) {
    const many = all.length > 1500;
    const result = section.curves.map((curve, place) => {
      const style = curveStyle(place);
      const own = all.filter((point) => point.entry.curve === place);
      return {
        label: curve,
        data: own,
        hidden: hidden.has(place),
        showLine: true,
        spreads: !many,
        borderColor: style.color,
        backgroundColor: style.color,
        borderDash: style.dash,
        borderWidth: many ? 1 : 2,
        pointStyle: style.shape,
        pointRadius: many ? 2 : 4.5,
        pointHoverRadius: 7,
        pointHitRadius: 10,
        order: 1,
      };
    });
    result.push({
      label: "Pareto front",
      front: true,
      data: paretoFront(all, metric.up),
      showLine: true,
      borderColor: variable("--muted"),
      borderDash: [5, 4],
      borderWidth: 1.25,
      pointRadius: 0,
      pointHitRadius: 0,
      pointHoverRadius: 0,
      order: 2,
    });
    return result;
  }

  function options(metric, all, onSelect) {
    const low = all.reduce((least, point) => Math.min(least, point.x - Math.min(point.sx, point.x / 2)), Infinity);
    const high = all.reduce((most, point) => Math.max(most, point.x + point.sx), 0);
    const room = Math.max(1.12, (high / low) ** 0.06);
    const [min, max] = [low / room, high * room];
    const grid = variable("--line");
    const text = variable("--muted");
    return {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      parsing: false,
      normalized: true,
      interaction: { mode: "nearest", intersect: true },
      onClick: (event, found, chart) => {
        const hit = found.map((item) => chart.data.datasets[item.datasetIndex].data[item.index]).find((point) => point.entry);
        if (hit) onSelect(hit.entry);
      },
      onHover: (event, found) => {
        if (event.native) event.native.target.style.cursor = found.length ? "pointer" : "default";
      },
      layout: { padding: { right: 6, top: 6 } },
      scales: {
        x: {
          type: "logarithmic",
          min,
          max,
          title: { display: true, text: "Size in MB (logarithmic)", color: text },
          grid: { color: grid },
          border: { color: grid },
          ticks: { color: text, maxRotation: 0, callback: tickText },
          afterBuildTicks: (axis) => (axis.ticks = logTicks(min, max).map((value) => ({ value }))),
        },
        y: {
          type: "linear",
          reverse: !metric.up,
          grace: "6%",
          grid: { color: grid },
          border: { color: grid },
          ticks: { color: text, maxTicksLimit: 7, callback: (value) => value.toLocaleString("en-US", { maximumFractionDigits: 4 }) },
        },
      },
      plugins: {
        legend: { display: false },
        tooltip: {
          displayColors: false,
          backgroundColor: variable("--tooltip"),
          titleColor: variable("--tooltip-text"),
          bodyColor: variable("--tooltip-text"),
          padding: 10,
          filter: (item) => !item.dataset.front,
          callbacks: {
            title: (items) => (items.length ? items[0].raw.entry.label : ""),
            label: (item) => tooltip(item.raw, metric),
          },
        },
      },
    };
  }

  function tooltip(point, metric) {
    const unit = metric.unit ? ` ${metric.unit}` : "";
    const deviation = point.sy ? ` \u00b1 ${fixed(point.sy, metric.digits)}` : "";
    const lines = [`${brief(point.x)} MB`, `${metric.title} ${fixed(point.y, metric.digits)}${deviation}${unit}`];
    const fps = mean(quantity(point.of, "fps"));
    const gaussians = mean(quantity(point.of, "gaussians"));
    if (gaussians) lines.push(`${Math.round(gaussians).toLocaleString("en-US")} Gaussians`);
    if (fps) lines.push(`${brief(fps)} FPS`);
    const { n, of, seeds, iterations } = point.entry;
    lines.push(`${n}/${of} scenes, ${seeds.length} ${seeds.length === 1 ? "seed" : "seeds"}, ${point.entry.trust}`);
    if (iterations) lines.push(`${iterations.toLocaleString("en-US")} steps`);
    return lines;
  }

  if (window.Chart) window.Chart.defaults.font.family = getComputedStyle(document.documentElement).getPropertyValue("--font");

  /** Draws plots into `host` and keeps them up to date. */
  function Plots(section, host, onSelect) {
    let charts = [];
    let state = { scope: (entry) => entry, hidden: new Set(), reference: null, metrics: [] };

    function draw() {
      for (const chart of charts) chart.destroy();
      charts = [];
      host.replaceChildren();
      for (const metric of section.metrics.filter((item) => state.metrics.includes(item.name))) {
        const all = points(section, metric, state.scope);
        const figure = h(
          "figure",
          { class: "plot" },
          h("figcaption", {}, h("strong", {}, metric.title), metric.unit ? ` in ${metric.unit}` : "",
            h("span", { class: "muted" }, metric.up ? "higher is better" : "lower is better, axis reversed")),
        );
        host.append(figure);
        if (!all.length) {
          figure.append(h("p", { class: "empty" }, metric.why ? `No values: ${metric.why}` : "No values here."));
          continue;
        }
        const canvas = h("canvas", { role: "img", "aria-label": `${metric.title} against size in MB; the table below has the numbers` });
        figure.append(h("div", { class: "canvas" }, canvas));
        const settings = options(metric, all, onSelect);
        const reference = all.find((point) => point.entry === state.reference);
        if (reference) settings.reference = { y: reference.y, label: `${reference.entry.label}: ${fixed(reference.y, metric.digits)}` };
        charts.push(
          new window.Chart(canvas, {
            type: "scatter",
            data: { datasets: datasets(section, metric, all, state.hidden) },
            options: settings,
            plugins: [spreadBars, referenceLine],
          }),
        );
      }
    }

    onTheme(draw);
    return {
      update(changes) {
        state = { ...state, ...changes };
        draw();
      },
      get charts() {
        return charts;
      },
    };
  }

  window.GSB.Plots = Plots;
  window.GSB.paretoFront = paretoFront;
})();
