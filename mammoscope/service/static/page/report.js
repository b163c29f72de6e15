// The report, for paper: one page a study. It is drawn when somebody prints.

import { html, render } from "../vendor/htm-preact.js";
import { config } from "./config.js";
import { isMixed, levelVerdict, membersOf, state, verdict } from "./store.js";
import { words } from "./strings.js";
import { placeText } from "./viewer.js";

const text = words.report;

let only = null;

// Prints one study; the browser's own command prints all.
export function printReport(study) {
  only = study.id;
  window.print();
}

function Report() {
  const studies = [...state.studies.values()].filter((study) => only === null || study.id === only);
  const single = only === null ? state.items.filter((item) => item.study === null) : [];
  return html`
    ${studies.map((study) => html`<${Sheet} key=${study.id} study=${study} items=${membersOf(study)} />`)}
    ${single.map((item) => html`<${Sheet} key=${`image ${item.id}`} items=${[item]} />`)}
  `;
}

export function listenToPrinting() {
  const paper = document.getElementById("report");
  const draw = () => render(html`<${Report} />`, paper);
  const clear = () => {
    only = null;
    render(null, paper);
  };
  addEventListener("beforeprint", draw);
  addEventListener("afterprint", clear);
  matchMedia("print").addEventListener("change", ({ matches }) => (matches ? draw() : clear()));
}

function Sheet({ study, items }) {
  const title = study ? words.worklist.study(study.number) : items[0].name;
  const version = items.find((item) => item.answer)?.answer.model_version;
  return html`<article class="sheet">
    <h1>${words.title}: ${title}</h1>
    <p><strong>${config.notice}</strong></p>
    <p>${text.made(new Date().toLocaleString())}. ${version ? `${words.verdict.model(version)}. ` : ""}
      ${text.point(words.points[state.point] ?? state.point)}</p>
    ${study && isMixed(study) && html`<p class="alarm"><strong>${words.worklist.mixed}</strong> ${words.worklist.mixedDetail}</p>`}
    ${study?.result && !isMixed(study) && html`<table><tbody>${results(study)}</tbody></table>`}
    <table>
      <caption>${text.images}</caption>
      <thead><tr><th></th>${text.columns.map((column) => html`<th scope="col">${column}</th>`)}</tr></thead>
      <tbody>${items.map((item) => html`<${Line} key=${item.id} item=${item} />`)}</tbody>
    </table>
    <p>${words.verdict.caution}</p>
  </article>`;
}

function results(study) {
  const line = (name, level, result) => {
    const decided = levelVerdict(result, level);
    return html`<tr><th scope="row">${name}</th><td>${words.probability(decided.p, decided.threshold)}</td><td>${words.labels[decided.label]}</td></tr>`;
  };
  return [
    ...study.result.breasts.map((breast) => line(words.worklist.breast[breast.laterality], "breast", breast)),
    ...study.result.patients.map((patient) => line(words.worklist.patient, "patient", patient)),
  ];
}

function Line({ item }) {
  const decided = verdict(item);
  return html`<tr>
    <td>${item.layers && html`<img src=${item.layers.thumb} alt="" />`}</td>
    <td class="name">${item.name}</td>
    <td>${placeText(item)}</td>
    <td>${decided ? words.probability(decided.p, decided.threshold) : ""}</td>
    <td>${decided ? words.labels[decided.label] : (item.error?.message ?? words.status[item.status])}</td>
    <td>${item.answer?.warnings.join(" ")}</td>
  </tr>`;
}
