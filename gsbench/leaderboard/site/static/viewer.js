/* Splats in the page, drawn by gsplat.js. Each file is a script that assigns base64 text, because a page opened from disk
   may not fetch. */
"use strict";

(function () {
  const { h, fixed, bytes } = window.GSB;
  const scene = window.GSB_SCENE;
  const site = document.body.dataset.root;
  const byId = (id) => document.getElementById(id);
  const camera = scene.viewer[""];
  let shown = null;

  /* Vectors of three numbers, and rotations of nine (rows; camera to world, so columns are right, down and ahead). */
  const add = (a, b, t) => [a[0] + t * b[0], a[1] + t * b[1], a[2] + t * b[2]];
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const apply = (m, v) => [dot(m.slice(0, 3), v), dot(m.slice(3, 6), v), dot(m.slice(6, 9), v)];
  const columnOf = (m, i) => [m[i], m[3 + i], m[6 + i]];

  function around(axis, angle) {
    const [x, y, z] = axis;
    const [c, s] = [Math.cos(angle), Math.sin(angle)];
    const d = 1 - c;
    return [
      c + x * x * d, x * y * d - z * s, x * z * d + y * s,
      y * x * d + z * s, c + y * y * d, y * z * d - x * s,
      z * x * d - y * s, z * y * d + x * s, c + z * z * d,
    ];
  }

  function times(a, b) {
    const found = [];
    for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++) found.push(dot(a.slice(3 * i, 3 * i + 3), columnOf(b, j)));
    return found;
  }

  /** x, y, z, w of a rotation. */
  function quaternion(m) {
    const trace = m[0] + m[4] + m[8];
    if (trace > 0) {
      const s = 2 * Math.sqrt(1 + trace);
      return [(m[7] - m[5]) / s, (m[2] - m[6]) / s, (m[3] - m[1]) / s, s / 4];
    }
    const i = m[0] > m[4] && m[0] > m[8] ? 0 : m[4] > m[8] ? 1 : 2;
    const [j, k] = [(i + 1) % 3, (i + 2) % 3];
    const s = 2 * Math.sqrt(1 + m[4 * i] - m[4 * j] - m[4 * k]);
    const q = [0, 0, 0, (m[3 * k + j] - m[3 * j + k]) / s];
    q[i] = s / 4;
    q[j] = (m[3 * j + i] + m[3 * i + j]) / s;
    q[k] = (m[3 * k + i] + m[3 * i + k]) / s;
    return q;
  }

  /** Moves around a point ahead of the stated camera; begins exactly there. */
  function Orbit(canvas, changed) {
    const start = { position: camera.position, rotation: camera.rotation, target: add(camera.position, columnOf(camera.rotation, 2), camera.distance) };
    let now = { ...start };
    const pointers = new Map();

    function turn(yaw, pitch) {
      const level = around(camera.up, yaw);
      const right = columnOf(times(level, now.rotation), 0);
      const both = times(around(right, pitch), level);
      const rotation = times(both, now.rotation);
      // Not over the pole, where left and right change places.
      if (Math.abs(dot(columnOf(rotation, 2), camera.up)) > 0.985) return;
      now = { ...now, rotation, position: add(now.target, apply(both, add(now.position, now.target, -1)), 1) };
      changed();
    }

    function zoom(factor) {
      now = { ...now, position: add(now.target, add(now.position, now.target, -1), factor) };
      changed();
    }

    function pan(x, y) {
      const away = Math.sqrt(dot(add(now.position, now.target, -1), add(now.position, now.target, -1)));
      const scale = away / canvas.clientHeight;
      const step = add(add([0, 0, 0], columnOf(now.rotation, 0), -x * scale), columnOf(now.rotation, 1), -y * scale);
      now = { ...now, position: add(now.position, step, 1), target: add(now.target, step, 1) };
      changed();
    }

    canvas.addEventListener("pointerdown", (event) => {
      pointers.set(event.pointerId, event);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
      if (pointers.size === 2) {
        const other = [...pointers.values()].find((of) => of.pointerId !== event.pointerId);
        const distance = (of) => Math.hypot(of.clientX - other.clientX, of.clientY - other.clientY);
        zoom(Math.min(2, Math.max(0.5, distance(before) / Math.max(1, distance(event)))));
        pan(dx / 2, dy / 2);
      } else if (event.shiftKey || (before.buttons & 2)) pan(dx, dy);
      else turn(-dx * 0.006, -dy * 0.006);
      pointers.set(event.pointerId, event);
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoom(Math.exp(Math.max(-0.3, Math.min(0.3, event.deltaY * 0.001))));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const actions = {
        ArrowLeft: () => turn(-0.08, 0), ArrowRight: () => turn(0.08, 0), ArrowUp: () => turn(0, 0.08), ArrowDown: () => turn(0, -0.08),
        "+": () => zoom(0.9), "-": () => zoom(1 / 0.9), 0: () => { now = { ...start }; changed(); },
      };
      if (actions[event.key]) {
        event.preventDefault();
        actions[event.key]();
      }
    });
    return {
      get now() {
        return now;
      },
      reset() {
        now = { ...start };
        changed();
      },
    };
  }

  function loadScript(source) {
    return new Promise((resolve, reject) => {
      const element = h("script", { src: source });
      element.addEventListener("load", () => resolve(element.remove()));
      element.addEventListener("error", () => reject(new Error("the file is missing")));
      document.head.append(element);
    });
  }

  function decode(text) {
    const raw = atob(text);
    const found = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) found[i] = raw.charCodeAt(i);
    return found;
  }

  async function show(entry) {
    const of = scene.viewer[entry.key];
    const stage = byId("stage");
    const status = h("p", { class: "empty", role: "status" }, "Loading\u2026");
    dispose();
    stage.replaceChildren(status);
    try {
      if (!window.SPLAT) await loadScript(`${site}assets/vendor/gsplat.js`);
      await loadScript(site + of.file);
      const data = decode(window.GSB_SPLAT);
      window.GSB_SPLAT = null;
      start(stage, data);
    } catch (error) {
      status.textContent = `The viewer cannot be shown: ${error.message}. It needs WebGL 2.`;
    }
  }

  function start(stage, data) {
    const { SPLAT } = window;
    const canvas = h("canvas", { class: "splats", tabindex: "0", "aria-label": "Splats; drag or use the arrow keys to look around" });
    if (!document.createElement("canvas").getContext("webgl2")) throw new Error("this browser has no WebGL 2");
    stage.replaceChildren(canvas);
    canvas.style.aspectRatio = `${camera.width} / ${camera.height}`;
    const renderer = new SPLAT.WebGLRenderer(canvas, []);
    renderer.backgroundColor = new SPLAT.Color32(...camera.background);
    const world = new SPLAT.Scene();
    world.addObject(new SPLAT.Splat(SPLAT.SplatData.Deserialize(data)));
    const eye = new SPLAT.Camera();
    eye.data.near = Math.max(1e-3, camera.distance / 500);
    eye.data.far = camera.distance * 200;
    const orbit = Orbit(canvas, place);
    let request = 0;
    let changed = 0;
    let frames = 0;

    function place() {
      const { position, rotation } = orbit.now;
      eye.position = new SPLAT.Vector3(...position);
      eye.rotation = new SPLAT.Quaternion(...quaternion(rotation));
      wake();
    }

    function resize() {
      // Twice the pixels of a photo-sized canvas bring nothing but work.
      const ratio = Math.min(devicePixelRatio, Math.max(1, 1600 / canvas.clientWidth));
      const width = Math.round(canvas.clientWidth * ratio);
      const height = Math.round(canvas.clientHeight * ratio);
      if (canvas.width === width && canvas.height === height && frames) return;
      eye.data.setSize(width, height);
      eye.data.fx = (camera.fx * width) / camera.width;
      eye.data.fy = (camera.fy * height) / camera.height;
      renderer.setSize(width, height);
    }

    function wake() {
      changed = performance.now();
      frames = Math.min(frames, 1);
      if (!request) request = requestAnimationFrame(frame);
    }

    /* Draws until workers have unpacked and sorted what is to be seen, and then rests until something changes. */
    function frame() {
      resize();
      eye.update();
      renderer.render(world, eye);
      frames += 1;
      const { updating } = renderer.renderProgram.renderData;
      const sorted = renderer.renderProgram.depthIndex.length > 0;
      if (sorted && !updating && frames > 2) stage.dataset.drawn = "yes";
      const busy = updating || !sorted || frames < 8 || performance.now() - changed < 800;
      request = busy ? requestAnimationFrame(frame) : 0;
    }

    const observer = new ResizeObserver(wake);
    observer.observe(canvas);
    place();
    byId("reset").hidden = false;
    byId("reset").onclick = () => orbit.reset();
    shown = () => {
      cancelAnimationFrame(request);
      observer.disconnect();
      renderer.dispose();
      delete stage.dataset.drawn;
    };
  }

  function dispose() {
    if (shown) shown();
    shown = null;
  }

  function describe(entry) {
    const of = scene.viewer[entry.key];
    const count = (value) => value.toLocaleString("en-US");
    const some = of.shown < of.total ? `the ${count(of.shown)} largest of ${count(of.total)} Gaussians` : `${count(of.total)} Gaussians`;
    const what = of.baked
      ? `The Gaussians of this method depend on where they are seen from; these are ${of.shown < of.total ? some : `the ${some}`} that it makes for view ${camera.name}, and elsewhere there are gaps.`
      : `${some.charAt(0).toUpperCase()}${some.slice(1)}, without the part of their colors that depends on the view.`;
    const loss = of.psnr === null ? "equals the method's own render" : `has ${fixed(of.psnr, 2)} dB PSNR against the method's own render`;
    return `${what} Re-encoded for viewing: colors, opacities and rotations in 8 bits. Drawn like this at view ${camera.name}, the image ${loss}; no number on this page is measured from it.`;
  }

  document.addEventListener("DOMContentLoaded", () => {
    const usable = scene.entries.filter((entry) => scene.viewer[entry.key] && typeof scene.viewer[entry.key] === "object");
    const others = scene.entries.filter((entry) => typeof scene.viewer[entry.key] === "string");
    if (!usable.length) {
      const reasons = [...new Set(others.map((entry) => scene.viewer[entry.key]))];
      if (typeof camera === "string") reasons.unshift(camera);
      byId("no-viewer").textContent = `Nothing to show: ${reasons.join("; ") || "this page was made without it"}.`;
      return;
    }
    for (const entry of others) byId("stage").after(h("p", { class: "note" }, `No viewer for ${entry.label}: ${scene.viewer[entry.key]}.`));
    const select = byId("viewer-entry");
    const button = byId("load");
    usable.sort((a, b) => scene.viewer[a.key].bytes - scene.viewer[b.key].bytes);
    for (const entry of usable) select.append(h("option", { value: entry.key }, entry.label));
    const current = () => usable.find((entry) => entry.key === select.value);
    function announce() {
      button.textContent = `Show (${bytes(scene.viewer[current().key].bytes)})`;
      byId("viewer-text").textContent = describe(current());
    }
    const start = decodeURIComponent(location.hash.slice(1));
    if (usable.some((entry) => entry.key === start)) select.value = start;
    select.addEventListener("change", () => {
      announce();
      if (shown) show(current());
    });
    button.addEventListener("click", () => show(current()));
    announce();
  });
})();
