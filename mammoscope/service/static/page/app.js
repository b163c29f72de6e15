// The page: reads what it is told, asks for a key where one is needed, shows what belongs there.

import { html, render, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { onKeyNeeded } from "./api.js";
import { Card } from "./card.js";
import { address, config } from "./config.js";
import { Intake, takeDropsAndPastes } from "./intake_view.js";
import { listenToKeys } from "./keys.js";
import { listenToPrinting } from "./report.js";
import { changed, loadModel, state, subscribe } from "./store.js";
import { words } from "./strings.js";
import { Verdict } from "./verdict.js";
import { Help, Viewer } from "./viewer.js";
import { Worklist } from "./worklist.js";

const CARD = address("/model/card");
const HOME = address("/");

let answerKey = null;

function here() {
  return location.pathname === CARD ? "card" : "images";
}

// Pages change without a load, so that images and key stay in memory.
function go(event, to) {
  if (event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.pushState(null, "", to);
  changed();
  scrollTo(0, 0);
}

function App() {
  const [, draw] = useState(0);
  useEffect(() => subscribe(() => draw((count) => count + 1)), []);
  const page = here();
  return html`
    <a class="skip" href="#worklist">${words.skip}</a>
    <${Header} page=${page} />
    ${page === "card" ? html`<main class="card-page"><${Card} /></main>` : html`<${Images} />`}
    <${Help} />
    <${KeyDialog} />
  `;
}

function Header({ page }) {
  const current = (name) => (page === name ? "page" : undefined);
  return html`<header class="top">
    <a class="brand" href=${HOME} onClick=${(event) => go(event, HOME)}>${words.title}</a>
    <p class="notice"><strong>${config.notice}</strong></p>
    <nav aria-label=${words.nav.label}>
      <a href=${HOME} aria-current=${current("images")} onClick=${(event) => go(event, HOME)}>${words.nav.images}</a>
      <a href=${CARD} aria-current=${current("card")} onClick=${(event) => go(event, CARD)}>${words.nav.model}</a>
      <a href=${address("/docs")}>${words.nav.api}</a>
    </nav>
  </header>`;
}

function Images() {
  const empty = state.items.length === 0;
  return html`<main class=${empty ? "images empty" : "images"}>
    <h1 class="unseen">${words.title}</h1>
    <${Intake} key=${empty ? "welcome" : "bar"} empty=${empty} />
    ${!empty && html`<${Worklist} /><${Viewer} /><${Verdict} />`}
  </main>`;
}

function KeyDialog() {
  const dialog = useRef(null);
  const [refused, setRefused] = useState(false);
  useEffect(() => {
    onKeyNeeded((again) => {
      setRefused(again);
      dialog.current.showModal();
      return new Promise((resolve) => {
        answerKey = resolve;
      });
    });
    loadModel();
  }, []);
  const given = (event) => {
    event.preventDefault();
    const field = event.target.elements.key;
    const key = field.value.trim();
    field.value = "";
    dialog.current.close();
    answerKey?.(key);
  };
  return html`<dialog ref=${dialog} class="key" aria-labelledby="key-title" onCancel=${(event) => event.preventDefault()}>
    <h2 id="key-title">${words.key.title}</h2>
    <p>${words.key.explain}</p>
    ${refused && html`<p class="refused" role="alert">${words.key.wrong}</p>`}
    <form onSubmit=${given}>
      <label>${words.key.label} <input name="key" type="password" autocomplete="off" required /></label>
      <button>${words.key.submit}</button>
    </form>
  </dialog>`;
}

// A style sheet in the head would hold up the first paint: nothing is drawn before it is there.
function styled() {
  const sheet = document.createElement("link");
  sheet.rel = "stylesheet";
  sheet.href = new URL("./page.css", import.meta.url).href;
  const loaded = new Promise((resolve) => {
    sheet.onload = sheet.onerror = resolve;
  });
  document.head.append(sheet);
  return loaded;
}

await styled();
addEventListener("popstate", changed);
listenToKeys();
listenToPrinting();
takeDropsAndPastes();
const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
