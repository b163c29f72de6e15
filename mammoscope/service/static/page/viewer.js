// The viewer: one image, or four as they hang, with tools.

import { html, useEffect, useLayoutEffect, useRef, useState } from "../vendor/htm-preact.js";
import { hang, putRight, SLOTS } from "./hanging.js";
import { Group, Pane } from "./pane.js";
import { isShowable, loadDisplay, membersOf, place, select, selectedItem, setView, state, verdict } from "./store.js";
import { words } from "./strings.js";

const text = words.viewer;
const TOOLS = ["window", "pan", "zoom", "magnifier", "ruler"];

export const group = new Group();

export function placeText(item) {
  const { laterality, view } = place(item);
  return [laterality, view].filter(Boolean).join(" ") || words.worklist.unknownView;
}

function slots(item) {
  const study = state.studies.get(item.study);
  if (!state.view.hang || !study) return null;
  const hung = hang(membersOf(study).filter(isShowable), place);
  const others = hung.every((slot) => slot.item !== item);
  return others ? null : hung;
}

export function canHang(item) {
  const study = item && state.studies.get(item.study);
  return Boolean(study) && membersOf(study).length > 1;
}

export function Viewer() {
  const item = selectedItem();
  const hung = item && slots(item);
  return html`<section class="viewer" aria-label=${text.region} id="viewer">
    <${Toolbar} item=${item} />
    ${!item && html`<p class="hollow">${text.empty}</p>`}
    ${item &&
    html`<div class=${hung ? "panes four" : "panes single"}>
      ${hung
        ? hung.map((slot, at) => html`<${Slot} key=${at} slot=${slot} at=${at} />`)
        : html`<${PaneView} key=${item.id} item=${item} anchor="middle" />`}
    </div>`}
  </section>`;
}

function Slot({ slot, at }) {
  if (!slot.item) return html`<p class="pane hollow">${text.noImage(slot.laterality, slot.row)}</p>`;
  const anchor = SLOTS[at].laterality === "R" ? "right" : "left";
  return html`<${PaneView} key=${slot.item.id} item=${slot.item} anchor=${anchor} />`;
}

function PaneView({ item, anchor }) {
  const canvas = useRef(null);
  const pane = useRef(null);
  const [told, tell] = useState(null);
  const image = item.display?.image ?? null;
  const { laterality, view } = place(item);
  const turned = image && putRight(image.orientation, laterality, view);

  useLayoutEffect(() => {
    pane.current = new Pane(canvas.current, group, tell);
    return () => pane.current.close();
  }, []);
  useLayoutEffect(() => {
    const { invert, heat, opacity, tool } = state.view;
    pane.current.update(image, item.layers, { id: item.id, invert, heat, opacity, tool, anchor, turned });
  });
  useEffect(() => {
    if (!item.display && isShowable(item)) loadDisplay(item);
  });

  const chosen = item.id === state.selected;
  return html`<figure
    class=${`pane ${anchor} ${chosen ? "chosen" : ""}`}
    onPointerDown=${() => chosen || select(item.id)}
    onDblClick=${() => canHang(item) && setView({ hang: !state.view.hang })}
  >
    <canvas
      ref=${canvas}
      tabindex="0"
      role="img"
      aria-label=${text.image(item.name, placeText(item))}
      data-ready=${image ? "yes" : "no"}
      onKeyDown=${(event) => moved(event, pane.current)}
      onFocus=${() => chosen || select(item.id)}
    ></canvas>
    <${Marks} item=${item} told=${told} turned=${turned} />
    ${state.view.network && item.layers && html`<${Network} layers=${item.layers} />`}
  </figure>`;
}

function Marks({ item, told, turned }) {
  const decided = verdict(item);
  const message = item.error?.message ?? item.display?.error;
  return html`<div class="marks">
    <strong class="mark where">${placeText(item)}</strong>
    ${decided && html`<span class="mark score">${words.probability(decided.p, decided.threshold)} · ${words.labels[decided.label]}</span>`}
    ${turned &&
    html`<span class="mark turned" title=${text.putRightTitle}>
      ${text.putRight[turned.transpose ? "turned" : "flipped"]}
    </span>`}
    ${told?.ruler && html`<span class="mark ruler">${told.ruler}</span>`}
    ${item.display?.loading && html`<span class="mark loading">${text.loading}</span>`}
    ${message && html`<span class="mark failed" role="alert">${message}</span>`}
    ${told && html`<span class="mark told">${text.zoomText(told.zoom)} · ${text.windowText(told.centre, told.width)}</span>`}
    ${state.view.heat && item.layers && html`<${ColourBar} />`}
  </div>`;
}

function ColourBar() {
  return html`<span class="mark colours" role="img" aria-label=${text.colourBar} title=${text.colourBar}>
    ${text.less}<i></i>${text.more}
  </span>`;
}

function Network({ layers }) {
  const canvas = useRef(null);
  useLayoutEffect(() => {
    const { preprocessed } = layers;
    canvas.current.width = preprocessed.width;
    canvas.current.height = preprocessed.height;
    canvas.current.getContext("2d").drawImage(preprocessed, 0, 0);
  }, [layers]);
  return html`<figure class="network">
    <canvas ref=${canvas} role="img" aria-label=${text.networkCaption}></canvas>
    <figcaption>${text.networkCaption}</figcaption>
  </figure>`;
}

function Toggle({ on, action, children, disabled }) {
  return html`<button type="button" aria-pressed=${on ? "true" : "false"} onClick=${action} disabled=${disabled}>
    ${children}
  </button>`;
}

function Toolbar({ item }) {
  const { view } = state;
  return html`<div class="toolbar" role="toolbar" aria-label=${text.toolbar}>
    <span class="tools">
      ${TOOLS.map(
        (tool) => html`<${Toggle} key=${tool} on=${view.tool === tool} action=${() => setView({ tool })}>
          ${text.tools[tool]}
        <//>`,
      )}
    </span>
    <span>
      <${Toggle} on=${view.invert} action=${() => setView({ invert: !view.invert })}>${text.invert}<//>
      <button type="button" onClick=${() => command("fit")}>${text.fit}</button>
      <button type="button" onClick=${() => command("actual")}>${text.actual}</button>
      <button type="button" onClick=${() => command("reset")}>${text.reset}</button>
    </span>
    <span>
      <${Toggle} on=${view.heat} action=${() => setView({ heat: !view.heat })}>${text.heat}<//>
      <input
        type="range" min="0" max="1" step="0.05" value=${view.opacity}
        aria-label=${text.opacity} aria-valuetext=${words.percent(view.opacity)}
        onInput=${(event) => setView({ opacity: Number(event.target.value), heat: true })}
      />
      <${Toggle} on=${view.network} action=${() => setView({ network: !view.network })}>${text.network}<//>
    </span>
    <span>
      ${canHang(item) &&
      html`<${Toggle} on=${view.hang} action=${() => setView({ hang: !view.hang })}>${text.hang}<//>`}
      <button type="button" onClick=${openHelp}>${text.help}</button>
    </span>
  </div>`;
}

export function openHelp() {
  const sheet = document.getElementById("help");
  if (!sheet.open) sheet.showModal();
}

export function Help() {
  const list = (pairs) =>
    pairs.map(([key, what]) => html`<dt key=${key}>${key}</dt><dd>${what}</dd>`);
  return html`<dialog id="help" aria-labelledby="help-title">
    <h2 id="help-title">${words.help.title}</h2>
    <dl>${list(words.help.mouse)}${list(words.help.keys)}</dl>
    <form method="dialog"><button>${words.help.close}</button></form>
  </dialog>`;
}

// ---- commands of buttons and keys

export function command(name) {
  if (name === "fit") group.each((pane) => pane.fitView());
  else if (name === "reset") group.each((pane) => pane.reset());
  else if (name === "in") group.each((pane) => pane.zoomBy(1.25));
  else if (name === "out") group.each((pane) => pane.zoomBy(0.8));
  else if (name === "actual") {
    for (const { item } of shownItems()) loadDisplay(item, true);
    group.each((pane) => pane.actualSize());
  }
}

function shownItems() {
  const item = selectedItem();
  if (!item) return [];
  const shown = slots(item)?.filter((slot) => slot.item) ?? [{ item }];
  return shown.filter((slot) => isShowable(slot.item));
}

const MOVES = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };

function moved(event, pane) {
  const by = MOVES[event.key];
  if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
  pane.moveBy(...by);
  event.preventDefault();
}
