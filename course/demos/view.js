// The view of a demo: the browser's own controls, a picture that never changes its size, a caption
// that screen readers follow. Python draws; this file only asks, shows, and says so when no answer
// comes. Boxes, points and cells are moved on the picture by mouse, finger or arrow keys.

const SVG = "http://www.w3.org/2000/svg";
const PATIENCE = 4000; // milliseconds without an answer before the reader is told

const element = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
const shape = (tag, attributes = {}) => {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const copy = (value) => JSON.parse(JSON.stringify(value));

// Each builder makes one control and returns a function that shows a value coming from the state.
const builders = {
  slider(control, ask, place) {
    const input = element("input", {
      type: "range", min: control.low, max: control.high, step: control.step, name: control.name,
    });
    const shown = element("output");
    const digits = (String(control.step).split(".")[1] ?? "").length;
    input.addEventListener("input", () => ask(control.name, Number(input.value)));
    place(element("label", {}, control.label, input, shown));
    return (value) => {
      input.value = value;
      shown.textContent = `${Number(value).toFixed(digits)}${control.unit ? ` ${control.unit}` : ""}`;
      input.setAttribute("aria-valuetext", shown.textContent);
    };
  },

  choice(control, ask, place) {
    const options = control.options.map((name) => element("option", { value: name }, name));
    const input = element("select", { name: control.name }, ...options);
    input.addEventListener("change", () => ask(control.name, input.value));
    place(element("label", {}, control.label, input));
    return (value) => { input.value = value; };
  },

  toggle(control, ask, place) {
    const input = element("input", { type: "checkbox", name: control.name });
    input.addEventListener("change", () => ask(control.name, input.checked));
    place(element("label", {}, input, control.label));
    return (value) => { input.checked = value; };
  },

  boxes(control, ask, _place, layer, at) {
    const { area, snap, smallest, movable_only: fixed } = control;
    let boxes = [];
    const put = (index, box, size) => {
      let [x0, y0, x1, y1] = box.map((v) => Math.round(v / snap) * snap);
      if (size) {
        x1 = clamp(x1, x0 + smallest, area.width);
        y1 = clamp(y1, y0 + smallest, area.height);
      } else {
        const [w, h] = [boxes[index][2] - boxes[index][0], boxes[index][3] - boxes[index][1]];
        x0 = clamp(x0, 0, area.width - w); y0 = clamp(y0, 0, area.height - h);
        x1 = x0 + w; y1 = y0 + h;
      }
      boxes = boxes.map((old, i) => (i === index ? [x0, y0, x1, y1] : old));
      ask(control.name, boxes);
    };
    const drag = (node, index, size) => {
      let from = null;
      node.addEventListener("pointerdown", (event) => {
        from = { at: at(event, area), box: boxes[index] };
        node.setPointerCapture(event.pointerId);
        grips[index].focus({ focusVisible: false });
        event.preventDefault();
      });
      node.addEventListener("pointermove", (event) => {
        if (!from) return;
        const [dx, dy] = at(event, area).map((v, i) => v - from.at[i]);
        const [x0, y0, x1, y1] = from.box;
        put(index, size ? [x0, y0, x1 + dx, y1 + dy] : [x0 + dx, y0 + dy, x1 + dx, y1 + dy], size);
      });
      for (const name of ["pointerup", "pointercancel"])
        node.addEventListener(name, () => { from = null; });
    };
    const grips = control.names.map((name, index) => {
      const grip = shape("rect", { class: "grip", tabindex: 0, role: "application", "data-name": name });
      grip.addEventListener("keydown", (event) => {
        const step = snap * (event.shiftKey ? 5 : 1);
        const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
        const grow = { "+": step, "=": step, "-": -step };
        const [x0, y0, x1, y1] = boxes[index];
        if (event.key in move) {
          const [dx, dy] = move[event.key];
          put(index, [x0 + dx, y0 + dy, x1 + dx, y1 + dy], false);
        } else if (event.key in grow && !fixed) {
          put(index, [x0, y0, x1 + grow[event.key], y1 + grow[event.key]], true);
        } else return;
        event.preventDefault(); event.stopPropagation();
      });
      drag(grip, index, false);
      layer.append(grip);
      return grip;
    });
    const corners = fixed ? [] : control.names.map((_, index) => {
      const corner = shape("circle", { class: "corner", r: 9, "aria-hidden": "true" });
      drag(corner, index, true);
      layer.append(corner);
      return corner;
    });
    return (value) => {
      boxes = value;
      boxes.forEach(([x0, y0, x1, y1], i) => {
        const [x, y] = [area.left + x0 * area.scale, area.top + y0 * area.scale];
        const [w, h] = [(x1 - x0) * area.scale, (y1 - y0) * area.scale];
        for (const [name, v] of Object.entries({ x, y, width: w, height: h })) grips[i].setAttribute(name, v);
        const keys = `arrow keys move${fixed ? "" : ", plus and minus resize"}`;
        grips[i].setAttribute("aria-label", `${control.names[i]}: left ${x0}, top ${y0}, right ${x1}, bottom ${y1}; ${keys}`);
        corners[i]?.setAttribute("cx", x + w);
        corners[i]?.setAttribute("cy", y + h);
      });
    };
  },

  point(control, ask, _place, layer, at) {
    const { area } = control;
    let point = [0, 0];
    const cells = cellLayer(layer, area);
    const put = ([x, y]) => {
      point = [clamp(Math.floor(x), 0, area.width - 1), clamp(Math.floor(y), 0, area.height - 1)];
      ask(control.name, point);
    };
    let down = false;
    cells.node.addEventListener("pointerdown", (event) => {
      down = true; cells.node.setPointerCapture(event.pointerId); put(at(event, area));
    });
    cells.node.addEventListener("pointermove", (event) => { if (down) put(at(event, area)); });
    for (const name of ["pointerup", "pointercancel"])
      cells.node.addEventListener(name, () => { down = false; });
    cells.keys((dx, dy) => put([point[0] + dx, point[1] + dy]));
    return (value) => {
      point = value;
      cells.mark(point);
      cells.node.setAttribute("aria-label", `${control.label}: column ${point[0]}, row ${point[1]}; arrow keys move`);
    };
  },

  paint(control, ask, _place, layer, at) {
    const { area, levels } = control;
    let rows = [], cursor = [0, 0], brush = null;
    const cells = cellLayer(layer, area);
    const put = ([x, y], level) => {
      cursor = [clamp(Math.floor(x), 0, area.width - 1), clamp(Math.floor(y), 0, area.height - 1)];
      brush = level ?? (rows[cursor[1]][cursor[0]] + 1) % levels;
      if (rows[cursor[1]][cursor[0]] !== brush) {
        rows = copy(rows);
        rows[cursor[1]][cursor[0]] = brush;
        ask(control.name, rows);
      }
      describe();
    };
    const describe = () => {
      cells.mark(cursor);
      const level = rows[cursor[1]]?.[cursor[0]];
      cells.node.setAttribute("aria-label", `${control.label}: column ${cursor[0]}, row ${cursor[1]}, value ${level}; arrow keys move, space paints`);
    };
    cells.node.addEventListener("pointerdown", (event) => {
      cells.node.setPointerCapture(event.pointerId); put(at(event, area), null);
    });
    cells.node.addEventListener("pointermove", (event) => { if (brush !== null) put(at(event, area), brush); });
    for (const name of ["pointerup", "pointercancel"])
      cells.node.addEventListener(name, () => { brush = null; });
    cells.keys((dx, dy) => {
      cursor = [clamp(cursor[0] + dx, 0, area.width - 1), clamp(cursor[1] + dy, 0, area.height - 1)];
      describe();
    }, () => { put(cursor, null); brush = null; });
    return (value) => { rows = value; describe(); };
  },
};

function cellLayer(layer, area) {
  const node = shape("rect", {
    class: "cells", tabindex: 0, role: "application", x: area.left, y: area.top,
    width: area.width * area.scale, height: area.height * area.scale,
  });
  const cursor = shape("rect", { class: "cursor", width: area.scale, height: area.scale });
  layer.append(node, cursor);
  return {
    node,
    mark([x, y]) {
      cursor.setAttribute("x", area.left + x * area.scale);
      cursor.setAttribute("y", area.top + y * area.scale);
    },
    keys(move, press) {
      node.addEventListener("keydown", (event) => {
        const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
        if (by) move(...by);
        else if (press && (event.key === " " || event.key === "Enter")) press();
        else return;
        event.preventDefault(); event.stopPropagation();
      });
    },
  };
}

function helpFor(controls) {
  const kinds = new Set(controls.map((control) => control.kind));
  const parts = [];
  if (kinds.has("boxes")) parts.push("Drag the boxes" + (controls.some((c) => c.kind === "boxes" && !c.movable_only) ? " and their corners" : "") + ", or move them with the arrow keys.");
  if (kinds.has("point")) parts.push("Click on the picture, or move the mark with the arrow keys.");
  if (kinds.has("paint")) parts.push("Paint on the picture, or move with the arrow keys and paint with the space bar.");
  return parts.join(" ");
}

const darkPage = () => {
  const light = document.body.dataset.jpThemeLight;
  return light ? light === "false" : matchMedia("(prefers-color-scheme: dark)").matches;
};

function render({ model, el }) {
  const spec = model.get("spec");
  const { width, height } = spec;
  document.getElementById(model.get("placeholder"))?.remove();

  const image = element("img", { alt: "", width, height, draggable: "false" });
  const layer = shape("svg", { class: "layer", viewBox: `0 0 ${width} ${height}` });
  const stage = element("div", { class: "stage", style: `aspect-ratio: ${width} / ${height}` }, image, layer);
  const caption = element("p", { class: "caption", "aria-live": "polite" });
  const problem = element("p", { class: "problem", role: "alert" });
  const panel = element("div", { class: "controls" });
  const reset = element("button", { type: "button" }, "Reset");
  const root = element("section", { class: "course-demo", "aria-label": spec.title },
    element("h4", {}, spec.title), element("p", {}, spec.idea));
  if (spec.predict.length) {
    const [question, answer] = spec.predict;
    root.append(element("details", {},
      element("summary", {}, element("b", {}, "Predict first. "), question), element("p", {}, answer)));
  }
  root.append(stage, problem, panel, caption);
  const help = helpFor(spec.controls);
  if (help) root.append(element("p", { class: "help" }, help));
  if (spec.source) root.append(element("p", { class: "source" }, spec.source));

  let state = copy(model.get("state"));
  let waiting = 0;
  const ask = (name, value) => {
    state = { ...state, [name]: value };
    follow();
    model.set("state", state);
    model.set("turn", model.get("turn") + 1);
    root.dataset.asked = model.get("turn");
    model.save_changes();
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      if (model.get("answered") < model.get("turn"))
        problem.textContent = "Python does not answer: the kernel is busy or has stopped. Wait for it, or restart it (Kernel, Restart Kernel) and run this cell again.";
    }, PATIENCE);
  };
  const at = (event, area) => {
    const frame = layer.getBoundingClientRect();
    const x = ((event.clientX - frame.left) / frame.width) * width;
    const y = ((event.clientY - frame.top) / frame.height) * height;
    return [(x - area.left) / area.scale, (y - area.top) / area.scale];
  };
  const followers = spec.controls.map((control) =>
    [control.name, builders[control.kind](control, ask, (node) => panel.append(node), layer, at)]);
  const follow = () => followers.forEach(([name, show]) => show(state[name]));
  reset.addEventListener("click", () => {
    state = copy(spec.default);
    ask(spec.controls[0].name, state[spec.controls[0].name]);
  });
  panel.append(reset);
  // JupyterLab takes arrows, space and enter for its cells, unless the node itself says otherwise.
  for (const node of root.querySelectorAll("input, select, button, summary, [tabindex]"))
    node.setAttribute("data-lm-suppress-shortcuts", "true");

  let url = "", shown = 0, drawn = Promise.resolve();
  const drawPicture = async () => {
    const number = ++shown;
    const next = URL.createObjectURL(new Blob([model.get("picture")], { type: "image/png" }));
    const loaded = new Image();
    loaded.src = next;
    try { await loaded.decode(); } catch { return; }
    if (number !== shown) return URL.revokeObjectURL(next);
    image.src = next; // decoded before it is shown: no flicker
    URL.revokeObjectURL(url);
    url = next;
    image.alt = model.get("caption");
  };
  const draw = () => { drawn = drawPicture(); };
  const tell = () => {
    caption.textContent = model.get("caption");
    problem.textContent = model.get("problem");
  };
  const answered = async () => {
    clearTimeout(waiting);
    tell();
    await null; // the change of the picture may be told after this one
    await drawn;
    root.dataset.answered = model.get("answered"); // the turn that is in sight, for tests
  };
  model.on("change:picture", draw);
  model.on("change:caption", tell);
  model.on("change:problem", tell);
  model.on("change:answered", answered);

  const theme = () => {
    if (model.get("dark") !== darkPage()) {
      model.set("dark", darkPage());
      model.save_changes();
    }
  };
  const watcher = new MutationObserver(theme);
  watcher.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });

  follow();
  tell();
  draw();
  theme();
  el.append(root);
  return () => {
    watcher.disconnect();
    clearTimeout(waiting);
    for (const [name, call] of [["picture", draw], ["caption", tell], ["problem", tell], ["answered", answered]])
      model.off(`change:${name}`, call);
    URL.revokeObjectURL(url);
  };
}

export default { render };
