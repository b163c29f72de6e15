// Keys of the whole page; none where somebody is typing.

import { selectedItem, setView, state, step } from "./store.js";
import { canHang, command, openHelp } from "./viewer.js";

const OPACITY_STEP = 0.1;

const ACTIONS = {
  w: () => setView({ tool: "window" }),
  m: () => setView({ tool: "pan" }),
  z: () => setView({ tool: "zoom" }),
  l: () => setView({ tool: "magnifier" }),
  r: () => setView({ tool: "ruler" }),
  i: () => setView({ invert: !state.view.invert }),
  h: () => setView({ heat: !state.view.heat }),
  n: () => setView({ network: !state.view.network }),
  g: () => canHang(selectedItem()) && setView({ hang: !state.view.hang }),
  j: () => step(1),
  k: () => step(-1),
  0: () => command("fit"),
  1: () => command("actual"),
  "+": () => command("in"),
  "-": () => command("out"),
  "[": () => setView({ heat: true, opacity: Math.max(0, state.view.opacity - OPACITY_STEP) }),
  "]": () => setView({ heat: true, opacity: Math.min(1, state.view.opacity + OPACITY_STEP) }),
  "?": openHelp,
  Escape: () => command("reset"),
};

function isTyping(target) {
  return target.closest("input:not([type=range]), select, textarea, dialog") !== null;
}

export function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const action = ACTIONS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || !state.items.length) return;
    event.preventDefault();
    action();
  });
}
