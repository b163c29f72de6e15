// Where images come in: drop, choose, paste, address, phantom.

import { html, useRef, useState } from "../vendor/htm-preact.js";
import { config } from "./config.js";
import { dropped } from "./intake.js";
import { addFiles, addPhantoms, addUrl, state } from "./store.js";
import { words } from "./strings.js";

const text = words.intake;

export function takeDropsAndPastes() {
  let depth = 0;
  const over = (inside) => document.body.classList.toggle("dropping", inside);
  addEventListener("dragenter", (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    depth += 1;
    over(true);
  });
  addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    if (!depth) over(false);
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    over(false);
    const { items } = event.dataTransfer;
    const folder = [...items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
    addFiles(dropped(event.dataTransfer), { sift: folder });
  });
  addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (!files.length) return;
    event.preventDefault();
    addFiles(files);
  });
}

export function Intake({ empty }) {
  return html`<section class=${empty ? "intake welcome" : "intake"} aria-label=${text.region}>
    ${empty && html`<h2>${text.welcome}</h2><p class="lead">${text.lead}</p>`}
    <div class="ways">
      <${Choose} name=${text.files} accept=${[...config.suffixes, ".zip"].join(",")} primary=${empty} />
      <${Choose} name=${text.folder} folder />
      <button type="button" onClick=${addPhantoms}>${text.phantom}</button>
      ${config.urlFetching && html`<${Address} />`}
    </div>
    ${empty &&
    html`<p class="faint">${text.phantomHint}</p>
      <p class="faint">${text.paste}</p>
      <p class="faint">${words.privacy}</p>
      ${state.opening > 0 && html`<p role="status">${text.opening}</p>`}`}
    ${state.modelError && html`<p class="refused" role="alert">${words.errors.model} ${state.modelError}</p>`}
  </section>`;
}

function Choose({ name, accept, folder = false, primary = false }) {
  const input = useRef(null);
  const chosen = () => {
    const files = [...input.current.files];
    input.current.value = "";
    addFiles(files, { sift: folder });
  };
  return html`<button type="button" class=${primary ? "primary" : ""} onClick=${() => input.current.click()}>${name}</button>
    <input
      ref=${input} type="file" hidden accept=${accept}
      multiple webkitdirectory=${folder} onChange=${chosen}
    />`;
}

function Address() {
  const [wrong, setWrong] = useState(false);
  const fetchIt = (event) => {
    event.preventDefault();
    const field = event.target.elements.url;
    const url = field.value.trim();
    const good = /^https?:\/\/.+/i.test(url) && URL.canParse(url);
    setWrong(!good);
    if (!good) return;
    addUrl(url);
    field.value = "";
  };
  return html`<form class="address" onSubmit=${fetchIt} novalidate>
    <input name="url" type="url" placeholder=${text.url} aria-label=${text.url} aria-invalid=${wrong ? "true" : "false"} />
    <button>${text.urlButton}</button>
    ${wrong && html`<span class="refused" role="alert">${words.errors.url}</span>`}
  </form>`;
}
