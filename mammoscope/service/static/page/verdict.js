// The verdict in words, for an image, its breast and its patient.

import { html } from "../vendor/htm-preact.js";
import { config } from "./config.js";
import { Outputs } from "./outputs.js";
import * as statistics from "./statistics.js";
import { breastOf, isMixed, levelVerdict, place, putAt, putInto, selectedItem, set, state, verdict } from "./store.js";
import { words } from "./strings.js";
import { placeText } from "./viewer.js";
import { Bar } from "./worklist.js";

const text = words.verdict;

export function Verdict() {
  const item = selectedItem();
  return html`<aside class="verdict" aria-label=${text.region}>
    ${!item && html`<p class="hollow">${text.none}</p>`}
    ${item && html`<h2 class="subject"><span class="name">${item.name}</span></h2>`}
    ${item?.error && html`<p class="refused">${item.error.message}</p>`}
    ${item?.answer && html`<${Answer} item=${item} />`}
    ${item && html`<${Place} item=${item} />`}
    ${item?.answer && html`<${Outputs} item=${item} />`}
  </aside>`;
}

function Answer({ item }) {
  const breast = breastOf(item);
  const study = state.studies.get(item.study);
  const patients = study?.result && !isMixed(study) ? study.result.patients : [];
  const { warnings } = item.answer;
  return html`
    <${Part} title=${`${text.of.image}: ${placeText(item)}`} decided=${verdict(item)} level="image" />
    <${Settings} />
    ${warnings.length > 0 &&
    html`<section class="warnings"><h3>${text.warnings}</h3><ul>${warnings.map((each) => html`<li>${each}</li>`)}</ul></section>`}
    ${breast &&
    html`<${Part}
      title=${`${text.of.breast}: ${words.worklist.breast[breast.laterality]}, ${words.worklist.images(breast.images)}`}
      decided=${levelVerdict(breast, "breast")} level="breast"
    />`}
    ${patients.map(
      (patient) => html`<${Part}
        title=${`${text.of.patient}, ${words.worklist.images(patient.images)}`}
        decided=${levelVerdict(patient, "patient")} level="patient"
      />`,
    )}
    <p class="faint small">${config.notice} ${text.model(item.answer.model_version)}.</p>
  `;
}

function Part({ title, decided, level }) {
  const { model, age } = state;
  const aged = model && statistics.ageEnters(model, age, level);
  const range = model && statistics.interval(model, decided.p, age, level);
  return html`<section class=${`part ${level}`} data-level=${level}>
    <h3>${title}</h3>
    <p class="figure">
      <strong>${words.probability(decided.p, decided.threshold)}</strong>
      ${range && html` <span class="range" title=${text.intervalNote}>${text.interval(...range)}</span>`}
      <span class=${`tag ${decided.label === "tumour" ? "above" : "below"}`}>${words.labels[decided.label]}</span>
    </p>
    <${Bar} decided=${decided} level=${level} />
    <p class="faint small">${text.probability}. ${text.from[level]} ${text.calls(words.labels[decided.label], decided.threshold)}
      ${range && ` ${text.intervalNote}`}</p>
    ${model && html`<${Meaning} decided=${decided} level=${level} aged=${aged} />`}
  </section>`;
}

function Meaning({ decided, level, aged }) {
  const { model, point, prevalence } = state;
  const measured = statistics.measuredAt(model, point, level, aged);
  if (!measured) return html`<p class="small">${text.unmeasured}</p>`;
  const { sensitivity, specificity } = measured;
  const values = (share) => statistics.predictiveValues(sensitivity.value, specificity.value, share);
  const inData = statistics.dataPrevalence(model, level);
  const places = [
    ...(inData === null ? [] : [{ share: inData, name: text.inData(inData) }]),
    { share: prevalence, name: text.inScreening(prevalence) },
  ];
  const unit = text.units[level];
  const isAbove = decided.label === "tumour";
  const line = (key, count, share, name) => html`<li data-value=${key}>
    <${Hundred} count=${share} good=${key === "npv"} /> <span>${count}, ${name}.</span>
  </li>`;
  return html`<details class="meaning" open=${level === "image"}>
    <summary>${text.meaning}</summary>
    <ul class=${isAbove ? "mine" : ""}>
      ${places.map(({ share, name }) => {
        const count = hundred(values(share).ppv);
        return line("ppv", text.above(unit, count), count, name);
      })}
    </ul>
    <ul class=${isAbove ? "" : "mine"}>
      ${places.map(({ share, name }) => {
        const count = hundred(values(share).npv);
        return line("npv", text.below(unit, count), count, name);
      })}
    </ul>
    <p class="small"><strong>${isAbove ? text.aboveHere : text.belowHere}</strong></p>
    <p class="small faint">${text.measured(text.withInterval(sensitivity), text.withInterval(specificity), measured.split)}</p>
  </details>`;
}

// A share as a count of 100. Neither none nor all is said where it is not so.
export function hundred(share) {
  const count = 100 * share;
  if (count > 0 && count < 1) return "fewer than 1";
  if (count < 100 && count > 99) return "more than 99";
  return String(Math.round(count));
}

function Hundred({ count, good }) {
  const number = { "fewer than 1": 0.5, "more than 99": 99.5 }[count] ?? Number(count);
  return html`<svg class=${`hundred ${good ? "good" : ""}`} viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
    <rect class="rail" width="100" height="8" /><rect class="fill" width=${number} height="8" />
  </svg>`;
}

// The age has no `value`: the page is drawn again while the age is typed, which would reset it.
function Settings() {
  const { model, age, point, prevalence } = state;
  if (!model) return null;
  const [low, high] = config.ages;
  const ageOf = (event) => {
    const given = event.target.value === "" ? null : Number(event.target.value);
    const fits = given === null || (given >= low && given <= high);
    event.target.setCustomValidity(fits ? "" : text.ageWrong(low, high));
    if (fits) set({ age: given });
    else event.target.reportValidity();
  };
  return html`<fieldset class="settings">
    <legend class="unseen">${text.point}</legend>
    <label>${text.point}
      <select value=${point} onChange=${(event) => set({ point: event.target.value })}>
        ${Object.keys(model.operating_points).map((each) => html`<option value=${each}>${words.points[each] ?? each}</option>`)}
      </select>
    </label>
    <label>${text.age}
      <input type="number" name="age" min=${low} max=${high} defaultValue=${age ?? ""} onChange=${ageOf} disabled=${!model.age_calibration} />
    </label>
    <p class="faint small">${model.age_calibration ? text.ageUsed : text.ageNone}</p>
    <label class="slide">${text.prevalence}: ${words.percent(prevalence, 1)}
      <input
        type="range" name="prevalence" min="0.001" max="0.35" step="0.001" value=${prevalence}
        aria-valuetext=${words.percent(prevalence, 1)}
        onInput=${(event) => set({ prevalence: Number(event.target.value) })}
      />
    </label>
    <p class="caution small">${text.caution}</p>
  </fieldset>`;
}

function Place({ item }) {
  const { laterality, view } = place(item);
  const options = (values, name) => values.map((value) => html`<option value=${value}>${name(value)}</option>`);
  return html`<details class="place">
    <summary>${text.place}</summary>
    <label>${text.laterality}
      <select name="laterality" value=${laterality ?? ""} onChange=${(event) => putAt(item, { laterality: event.target.value || null })}>
        ${options(["", "R", "L"], (value) => text.lateralities[value])}
      </select>
    </label>
    <label>${text.view}
      <select name="view" value=${view ?? ""} onChange=${(event) => putAt(item, { view: event.target.value || null })}>
        ${options(["", ...config.views], (value) => value || text.unknown)}
      </select>
    </label>
    <label>${text.study}
      <select name="study" value=${String(item.study ?? "")} onChange=${(event) => putInto(item, chosen(event.target.value))}>
        <option value="">${text.alone}</option>
        ${[...state.studies.values()].map((study) => html`<option value=${String(study.id)}>${words.worklist.study(study.number)}</option>`)}
        <option value="new">${text.newStudy}</option>
      </select>
    </label>
  </details>`;
}

function chosen(value) {
  if (value === "") return null;
  return value === "new" ? "new" : Number(value);
}
