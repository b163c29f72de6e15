// The worklist: rows as results come, grouped into studies.

import { Component, html, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import {
  cancelAll, clear, isMixed, isOpen, levelVerdict, listed, place, remove, select, set, setView,
  start, state, step, verdict, membersOf,
} from "./store.js";
import { printReport } from "./report.js";
import * as statistics from "./statistics.js";
import { words } from "./strings.js";
import { placeText } from "./viewer.js";

const text = words.worklist;

export function Worklist() {
  const items = listed();
  const groups = grouped(items);
  return html`<section class="worklist" aria-label=${text.region} id="worklist">
    <${Progress} />
    <${Controls} />
    <div class="rows" onKeyDown=${keys}>
      ${!items.length && html`<p class="hollow">${text.empty}</p>`}
      ${groups.map(
        ({ study, members }) => html`<${StudyRows}
          key=${study?.id ?? "single"} study=${study} members=${members} alone=${groups.length === 1 && !study}
        />`,
      )}
    </div>
  </section>`;
}

function grouped(items) {
  const groups = new Map();
  for (const item of items) {
    if (!groups.has(item.study)) groups.set(item.study, []);
    groups.get(item.study).push(item);
  }
  return [...groups].map(([id, members]) => ({ study: state.studies.get(id) ?? null, members }));
}

function keys(event) {
  if (event.target.closest("select, input")) return;
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (by) {
    const row = event.target.closest(".row"); // the row that has the focus counts
    step(by, row ? Number(row.dataset.id) : undefined);
    event.preventDefault();
    requestAnimationFrame(() => requestAnimationFrame(focusChosen));
  } else if (event.key === "Delete") {
    const item = state.items.find((each) => each.id === state.selected);
    if (item) remove(item);
    requestAnimationFrame(() => requestAnimationFrame(focusChosen));
  }
}

function focusChosen() {
  document.querySelector('.row [aria-current="true"]')?.focus();
}

function Progress() {
  const open = state.items.filter(isOpen);
  const all = state.items.length;
  const done = all - open.length;
  const failed = state.items.filter((item) => item.status === "failed").length;
  const share = state.items.reduce((sum, item) => sum + (isOpen(item) ? 0.9 * item.progress : 1), 0) / all;
  return html`<div class="overall">
    <div class="overall-line">
      <span>${words.progress.count(done, all)}${state.opening ? ` · ${words.intake.opening}` : ""}</span>
      ${open.length > 0 &&
      html`<button type="button" class="quiet" onClick=${cancelAll}>${words.progress.cancelAll}</button>`}
      ${open.length === 0 && html`<button type="button" class="quiet" onClick=${clear}>${text.clear}</button>`}
    </div>
    <progress max="1" value=${share} aria-label=${words.progress.label}></progress>
    <${Wait} />
    <p class="unseen" role="status">${open.length ? "" : words.progress.announce(done - failed, failed)}</p>
  </div>`;
}

function Wait() {
  const [, tick] = useState(0);
  const left = Math.ceil((state.waitingUntil - Date.now()) / 1000);
  useEffect(() => {
    if (left <= 0) return undefined;
    const timer = setTimeout(() => tick((count) => count + 1), 500);
    return () => clearTimeout(timer);
  });
  return left > 0 && html`<p class="wait" role="status">${words.progress.wait(left)}</p>`;
}

function Controls() {
  const options = (names) => Object.entries(names).map(([value, name]) => html`<option value=${value}>${name}</option>`);
  return html`<div class="controls">
    <input
      type="search" placeholder=${text.filter} aria-label=${text.filter} value=${state.filter}
      onInput=${(event) => set({ filter: event.target.value })}
    />
    <label>${text.show}
      <select value=${state.show} onChange=${(event) => set({ show: event.target.value })}>${options(text.shows)}</select>
    </label>
    <label>${text.sort}
      <select value=${state.sort} onChange=${(event) => set({ sort: event.target.value })}>${options(text.sorts)}</select>
    </label>
  </div>`;
}

function StudyRows({ study, members, alone }) {
  return html`<section class="study">
    ${!alone &&
    html`<header>
      <h2>${study ? text.study(study.number) : text.noStudy}</h2>
      <span class="faint">${text.images(members.length)}</span>
      ${study && members.length > 1 &&
      html`<button type="button" class="quiet" onClick=${() => hangStudy(members)}>${text.hang}</button>`}
      ${study && html`<button type="button" class="quiet" onClick=${() => printReport(study)}>${text.report}</button>`}
    </header>`}
    ${study && isMixed(study) && html`<div class="alarm" role="alert">
      <strong>${text.mixed}</strong> ${text.mixedDetail}
    </div>`}
    <ul>${members.map((item) => html`<${Row} key=${item.id} item=${item} shown=${shownOf(item)} />`)}</ul>
    ${study && html`<${Scores} study=${study} />`}
  </section>`;
}

function hangStudy(members) {
  const item = members.find((each) => each.answer) ?? members[0];
  select(item.id);
  setView({ hang: true });
}

export function Scores({ study }) {
  if (study.scoring) return html`<p class="scores faint">${text.scoring}</p>`;
  if (study.error) return html`<p class="scores faint">${study.error}</p>`;
  if (!study.result || isMixed(study) || membersOf(study).length < 2) return null;
  const { breasts, patients } = study.result;
  return html`<div class="scores">
    ${breasts.map((breast) => html`<${Score} name=${text.breast[breast.laterality]} result=${breast} level="breast" />`)}
    ${patients.map((patient) => html`<${Score} name=${text.patient} result=${patient} level="patient" />`)}
  </div>`;
}

function Score({ name, result, level }) {
  const decided = levelVerdict(result, level);
  return html`<div class="score-line">
    <span>${name}</span>
    <${Bar} decided=${decided} level=${level} />
    ${result.missing_views.length > 0 && html`<span class="faint missing">${text.missing(result.missing_views)}</span>`}
  </div>`;
}

export function Bar({ decided, level = "image" }) {
  const marks = state.model
    ? Object.keys(state.model.operating_points).map((point) => statistics.threshold(state.model, point, level))
    : [decided.threshold];
  const spoken = text.bar(decided.p, marks.map((mark) => words.percent(mark)).join(", "));
  return html`<span class=${`bar ${decided.label === "tumour" ? "above" : "below"}`}>
    <svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label=${spoken}>
      <rect class="rail" x="0" y="2" width="100" height="6" />
      <rect class="fill" x="0" y="2" width=${100 * decided.p} height="6" />
      ${marks.map((mark) => html`<line class=${mark === decided.threshold ? "used" : ""} x1=${100 * mark} x2=${100 * mark} y1="0" y2="10" />`)}
    </svg>
    <span class="number">${words.probability(decided.p, decided.threshold)}</span>
    <span class="label">${words.labels[decided.label]}</span>
  </span>`;
}

// All that a row shows, so that rows that show the same are not drawn again.
function shownOf(item) {
  const { laterality, view } = place(item);
  const { model, point } = state;
  return [
    item.status, Math.round(50 * item.progress), item.id === state.selected, laterality, view,
    verdict(item)?.p, point, model !== null, item.layers?.thumb, item.error?.message,
  ].join();
}

class Row extends Component {
  shouldComponentUpdate(next) {
    return next.shown !== this.props.shown;
  }

  render({ item }) {
    return html`<${RowContent} item=${item} />`;
  }
}

function RowContent({ item }) {
  const chosen = item.id === state.selected;
  const decided = verdict(item);
  const warnings = item.answer?.warnings.length ?? 0;
  const row = useRef(null);
  useEffect(() => {
    if (chosen) row.current.scrollIntoView({ block: "nearest" });
  }, [chosen]);
  return html`<li class=${`row ${chosen ? "chosen" : ""}`} ref=${row} data-id=${item.id} data-status=${item.status}>
    <button type="button" class="open" aria-current=${chosen ? "true" : "false"} onClick=${() => open(item)}>
      <span class="thumb">${item.layers && html`<img src=${item.layers.thumb} alt="" />`}</span>
      <span class="facts">
        <span class="name">${item.name}</span>
        <span class="faint">${place(item).laterality || place(item).view || item.answer ? placeText(item) : ""}
          ${warnings > 0 && html` <span class="warned">${text.warnings(warnings)}</span>`}</span>
        ${decided ? html`<${Bar} decided=${decided} />` : html`<${Status} item=${item} />`}
      </span>
    </button>
    <span class="row-buttons">
      ${["failed", "cancelled"].includes(item.status) && (item.file || item.url) &&
      html`<button type="button" class="icon" aria-label=${text.retry(item.name)} title=${text.retry(item.name)} onClick=${() => start(item)}>↻</button>`}
      ${isOpen(item)
        ? html`<button type="button" class="icon" aria-label=${text.cancel(item.name)} title=${text.cancel(item.name)} onClick=${() => item.cancel()}>■</button>`
        : html`<button type="button" class="icon" aria-label=${text.remove(item.name)} title=${text.remove(item.name)} onClick=${() => remove(item)}>×</button>`}
    </span>
  </li>`;
}

function open(item) {
  select(item.id);
  if (matchMedia("(max-width: 60rem)").matches) {
    requestAnimationFrame(() => document.getElementById("viewer")?.scrollIntoView());
  }
}

function Status({ item }) {
  if (item.error) return html`<span class="refused">${item.error.message}</span>`;
  return html`<span class="faint going">${words.status[item.status]}
    <progress max="1" value=${item.progress} aria-label=${item.name}></progress>
  </span>`;
}
