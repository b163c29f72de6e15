// One image on a canvas: drawn through a window, moved, zoomed, measured.

import { LEAST, MOST, paint } from "./images.js";
import { words } from "./strings.js";

const ZOOMS = [0.2, 40];
const WHEEL = 0.0015;
const WINDOW_STEP = (MOST - LEAST) / 600;
const LEAST_WIDTH = 64;
const LENS_RADIUS = 90;
const LENS_ZOOM = 2.5;
const RULER_COLOUR = "#ffd43b";

// Panes that hang together: all images have the same scale.
export class Group {
  constructor() {
    this.panes = new Set();
  }

  // Screen pixels for one unit of `pane`: the least that fits, among images with the same unit.
  base(pane) {
    const fits = [...this.panes]
      .filter((each) => each.display && each.unit() === pane.unit())
      .map((each) => each.fit());
    return Math.min(...fits);
  }

  each(action) {
    for (const pane of this.panes) action(pane);
  }
}

export class Pane {
  constructor(canvas, group, changed) {
    Object.assign(this, { canvas, group, changed });
    this.display = null;
    this.settings = {};
    this.pixels = document.createElement("canvas");
    this.painted = null;
    this.pointers = new Map();
    this.lens = null;
    this.frame = 0;
    this.resetView();
    group.panes.add(this);
    this.listen();
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(canvas);
  }

  close() {
    this.observer.disconnect();
    this.group.panes.delete(this);
    cancelAnimationFrame(this.frame);
  }

  // ---- what is shown

  update(display, layers, settings) {
    const fresh = display !== this.display;
    // Most changes of the page are none of the image: a canvas costs the browser tens of
    // milliseconds whenever it is drawn.
    const same = !fresh && layers === this.layers && JSON.stringify(settings) === JSON.stringify(this.settings);
    if (same) return;
    if (fresh && display && !this.sameImage(display)) this.resetView();
    Object.assign(this, { display, layers, settings });
    if (fresh) this.group.each((pane) => pane.draw());
    this.draw();
  }

  sameImage(display) {
    const size = (image) => `${image?.sourceRows} ${image?.sourceColumns}`;
    return size(display) === size(this.display) && this.settings.id !== undefined;
  }

  resetView() {
    Object.assign(this, { zoom: 1, pan: { x: 0, y: 0 }, window: null, ruler: null });
  }

  reset() {
    this.resetView();
    this.draw();
  }

  currentWindow() {
    return this.window ?? this.display.window;
  }

  // ---- geometry: a unit is a millimetre, or a pixel of the source where none is known

  unit() {
    return this.display?.spacing ? "mm" : "pixel";
  }

  pixelSize() {
    const { spacing, columns, rows, sourceColumns, sourceRows } = this.display;
    if (spacing) return { x: spacing.column, y: spacing.row };
    return { x: sourceColumns / columns, y: sourceRows / rows };
  }

  // Width and height in units, as hung.
  extent() {
    const size = this.pixelSize();
    const sides = [this.display.columns * size.x, this.display.rows * size.y];
    return this.settings.turned?.transpose ? sides.reverse() : sides;
  }

  fit() {
    const [width, height] = this.extent();
    return Math.min(this.canvas.clientWidth / width, this.canvas.clientHeight / height);
  }

  scale() {
    return this.group.base(this) * this.zoom;
  }

  // Centre of the image without moving it: chest walls of a pair lie back to back.
  rest() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const half = (this.extent()[0] * this.group.base(this)) / 2;
    const x = { left: half, right: width - half }[this.settings.anchor] ?? width / 2;
    return { x, y: height / 2 };
  }

  centre() {
    const rest = this.rest();
    return { x: rest.x + this.pan.x, y: rest.y + this.pan.y };
  }

  matrix(zoom = 1, at = null) {
    const centre = this.centre();
    const size = this.pixelSize();
    const turned = this.settings.turned ?? {};
    const ratio = window.devicePixelRatio;
    const made = new DOMMatrix().scaleSelf(ratio, ratio);
    if (at) made.translateSelf(at.x, at.y).scaleSelf(zoom, zoom).translateSelf(-at.x, -at.y);
    made.translateSelf(centre.x, centre.y);
    made.scaleSelf(this.scale() * (turned.flipX ? -1 : 1), this.scale() * (turned.flipY ? -1 : 1));
    if (turned.transpose) made.multiplySelf(new DOMMatrix([0, 1, 1, 0, 0, 0]));
    made.scaleSelf(size.x, size.y);
    return made.translateSelf(-this.display.columns / 2, -this.display.rows / 2);
  }

  toImage(point) {
    const ratio = window.devicePixelRatio;
    const found = this.matrix().inverse().transformPoint(new DOMPoint(point.x * ratio, point.y * ratio));
    return { x: found.x, y: found.y };
  }

  // Share of the screen's pixels that one pixel of the source takes.
  actualZoom() {
    const { columns, sourceColumns } = this.display;
    return (this.scale() * this.pixelSize().x * columns * window.devicePixelRatio) / sourceColumns;
  }

  // ---- moving

  zoomBy(factor, at = null) {
    if (!this.display) return;
    const point = at ?? { x: this.canvas.clientWidth / 2, y: this.canvas.clientHeight / 2 };
    const zoom = Math.min(Math.max(this.zoom * factor, ZOOMS[0]), ZOOMS[1]);
    const centre = this.centre();
    const rest = this.rest();
    const ratio = zoom / this.zoom;
    this.pan = {
      x: point.x + (centre.x - point.x) * ratio - rest.x,
      y: point.y + (centre.y - point.y) * ratio - rest.y,
    };
    this.zoom = zoom;
    this.draw();
  }

  moveBy(x, y) {
    this.pan = { x: this.pan.x + x, y: this.pan.y + y };
    this.draw();
  }

  fitView() {
    Object.assign(this, { zoom: 1, pan: { x: 0, y: 0 } });
    this.draw();
  }

  actualSize() {
    if (this.display) this.zoomBy(1 / this.actualZoom());
  }

  windowBy(x, y) {
    const { centre, width } = this.currentWindow();
    this.window = {
      centre: Math.min(Math.max(centre + y * WINDOW_STEP, LEAST), MOST),
      width: Math.max(width + x * WINDOW_STEP, LEAST_WIDTH),
    };
    this.draw();
  }

  // ---- drawing

  resized() {
    const ratio = window.devicePixelRatio;
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    this.group.each((pane) => pane.draw());
  }

  draw() {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    this.frame = 0;
    const context = this.canvas.getContext("2d", { alpha: false });
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.display || !this.canvas.width) return;
    this.repaint();
    this.drawImage(context, this.matrix());
    this.drawRuler(context);
    this.drawLens(context);
    this.changed(this.told());
  }

  repaint() {
    const { centre, width } = this.currentWindow();
    const key = `${centre} ${width} ${this.settings.invert}`;
    if (this.painted?.key === key && this.painted.display === this.display) return;
    paint(this.pixels, this.display, { centre, width }, this.settings.invert);
    this.painted = { key, display: this.display };
  }

  drawImage(context, matrix) {
    context.setTransform(matrix);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.pixels, 0, 0);
    if (!this.settings.heat || !this.layers) return;
    const { columns, rows } = this.display;
    const [top, left, bottom, right] = this.layers.box;
    context.globalAlpha = this.settings.opacity;
    context.drawImage(
      this.layers.heat,
      left * columns,
      top * rows,
      (right - left) * columns,
      (bottom - top) * rows,
    );
    context.globalAlpha = 1;
  }

  drawLens(context) {
    if (!this.lens) return;
    const ratio = window.devicePixelRatio;
    context.save();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.beginPath();
    context.arc(this.lens.x, this.lens.y, LENS_RADIUS, 0, 2 * Math.PI);
    context.clip();
    context.fillRect(0, 0, this.canvas.clientWidth, this.canvas.clientHeight);
    this.drawImage(context, this.matrix(LENS_ZOOM, this.lens));
    context.restore();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.strokeStyle = "#fff";
    context.lineWidth = 2;
    context.beginPath();
    context.arc(this.lens.x, this.lens.y, LENS_RADIUS, 0, 2 * Math.PI);
    context.stroke();
  }

  drawRuler(context) {
    if (!this.ruler) return;
    const ratio = window.devicePixelRatio;
    const [from, to] = this.ruler.map((point) => this.matrix().transformPoint(new DOMPoint(point.x, point.y)));
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.strokeStyle = context.fillStyle = RULER_COLOUR;
    context.lineWidth = 2 * ratio;
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y);
    context.stroke();
    for (const end of [from, to]) context.fillRect(end.x - 3 * ratio, end.y - 3 * ratio, 6 * ratio, 6 * ratio);
  }

  rulerText() {
    if (!this.ruler) return null;
    const [from, to] = this.ruler;
    const { spacing, columns, sourceColumns } = this.display;
    if (!spacing) return words.viewer.pixels((Math.hypot(to.x - from.x, to.y - from.y) * sourceColumns) / columns);
    const mm = Math.hypot((to.x - from.x) * spacing.column, (to.y - from.y) * spacing.row);
    return words.viewer.length(mm, spacing.origin);
  }

  told() {
    const { centre, width } = this.currentWindow();
    return { centre, width, zoom: this.actualZoom(), ruler: this.rulerText() };
  }

  // ---- pointers

  listen() {
    const { canvas } = this;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    canvas.addEventListener("pointerdown", (event) => this.down(event, place(event)));
    canvas.addEventListener("pointermove", (event) => this.move(event, place(event)));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => this.up(event));
    }
    canvas.addEventListener("pointerleave", () => this.setLens(null));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        this.zoomBy(Math.exp(-event.deltaY * WHEEL), place(event));
      },
      { passive: false },
    );
  }

  down(event, at) {
    if (!this.display) return;
    this.canvas.setPointerCapture(event.pointerId);
    const tool = event.button === 1 || event.shiftKey ? "pan" : event.button === 2 ? "zoom" : this.settings.tool;
    if (event.button === 1) event.preventDefault();
    this.pointers.set(event.pointerId, { at, tool });
    if (tool === "ruler") this.ruler = [this.toImage(at), this.toImage(at)];
    if (tool === "magnifier") this.setLens(at);
  }

  move(event, at) {
    const pointer = this.pointers.get(event.pointerId);
    if (!this.display) return;
    if (!pointer) {
      if (this.settings.tool === "magnifier" && event.pointerType === "mouse") this.setLens(at);
      return;
    }
    const by = { x: at.x - pointer.at.x, y: at.y - pointer.at.y };
    if (this.pointers.size === 2) this.pinch(event.pointerId, at, by);
    else this.drag(pointer.tool, at, by);
    pointer.at = at;
  }

  drag(tool, at, by) {
    if (tool === "window") this.windowBy(by.x, by.y);
    else if (tool === "pan") this.moveBy(by.x, by.y);
    else if (tool === "zoom") this.zoomBy(Math.exp(-by.y * 0.01));
    else if (tool === "magnifier") this.setLens(at);
    else if (tool === "ruler") {
      this.ruler = [this.ruler[0], this.toImage(at)];
      this.draw();
    }
  }

  pinch(id, at, by) {
    const [other] = [...this.pointers].filter(([each]) => each !== id).map(([, each]) => each.at);
    const distance = (point) => Math.hypot(point.x - other.x, point.y - other.y);
    const before = { x: at.x - by.x, y: at.y - by.y };
    this.moveBy(by.x / 2, by.y / 2);
    if (distance(before) > 0) {
      this.zoomBy(distance(at) / distance(before), { x: (at.x + other.x) / 2, y: (at.y + other.y) / 2 });
    }
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    if (event.pointerType !== "mouse") this.setLens(null);
  }

  setLens(at) {
    if (at === null && this.lens === null) return;
    this.lens = at;
    this.draw();
  }
}
