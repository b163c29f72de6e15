// The model page: what the model is for and not for, then what was measured.

import { html } from "../vendor/htm-preact.js";
import { address } from "./config.js";
import * as statistics from "./statistics.js";
import { state } from "./store.js";
import { words } from "./strings.js";

const text = words.card;
const PREVALENCE = 0.02;
const LEVELS = ["image", "breast", "patient"];

// A statement of the card is Markdown of paragraphs and list items.
function Prose({ given }) {
  const lines = given.split("\n");
  const items = lines.filter((line) => line.startsWith("- "));
  if (items.length && items.length === lines.filter((line) => line.trim()).length) {
    return html`<ul>${items.map((line) => html`<li>${plain(line.slice(2))}</li>`)}</ul>`;
  }
  return html`<p>${plain(given)}</p>`;
}

const plain = (given) => given.replaceAll("`", "").replaceAll("\n", " ");
const figure = (value, digits = 2) => value?.value === undefined ? "–" : `${value.value.toFixed(digits)} (${value.low.toFixed(digits)} to ${value.high.toFixed(digits)})`;

export function Card() {
  const { model } = state;
  if (!model) return html`<p role="status">${state.modelError ?? text.loading}</p>`;
  const statements = { ...(model.about?.statements ?? {}) };
  const { Limits: limits, "Intended use": intended } = statements;
  delete statements.Limits;
  delete statements["Intended use"];
  const test = model.metrics?.test;
  return html`
    <h1>${text.title}</h1>
    <p class="lead">${text.lead(model.version, model.about?.name)}</p>
    <p class="alarm">${model.notice}</p>
    ${limits && html`<section><h2>${text.limits}</h2><${Prose} given=${limits} /></section>`}
    ${intended && html`<section><h2>${text.intended}</h2><${Prose} given=${intended} /></section>`}
    ${test?.auc ? html`<${Results} model=${model} test=${test} />` : html`<p>${text.unmeasured}</p>`}
    ${Object.keys(statements).length > 0 &&
    html`<section><h2>${text.more}</h2>
      ${Object.entries(statements).map(([title, given]) => html`<details key=${title}><summary>${title}</summary><${Prose} given=${given} /></details>`)}
    </section>`}
    <p><a href=${address("/model")}>${text.json}</a></p>
  `;
}

function Results({ model, test }) {
  return html`<section>
    <h2>${curvesOf(model) ? text.resultsBoth : text.results}</h2>
    <p>${text.measured(test)}</p>
    ${curvesOf(model) && html`<p><span class="swatch curve" /> ${(isByFolds(model) ? text.folds : text.validation)(model.metrics.validation)} <span class="swatch test" /> ${text.testDots}</p>`}
    <div class="plots">
      <${Separation} test=${test} />
      <${Roc} model=${model} test=${test} />
      <${Reliability} model=${model} test=${test} />
      <${Decision} model=${model} test=${test} />
    </div>
    <${Points} model=${model} test=${test} />
    <${Groups} test=${test} />
  </section>`;
}

// ---- plots: SVG of 300 x 300 around a unit square of 240 x 240

const SIDE = 240;
const LEFT = 44;
const TOP = 12;
const UNIT = [0, 0.5, 1];
const across = (share) => LEFT + SIDE * share;
const up = (share) => TOP + SIDE * (1 - share);

// Paths through points of shares; a point without a number is left out.
function line(xs, ys, scaleY = (v) => v) {
  return xs
    .map((x, at) => (ys[at] === null ? "" : `${across(x).toFixed(1)} ${up(scaleY(ys[at])).toFixed(1)}`))
    .filter(Boolean)
    .map((point, at) => `${at ? "L" : "M"}${point}`)
    .join("");
}

function band(xs, low, high, scaleY) {
  const back = [...xs].reverse();
  const upper = line(xs, high, scaleY);
  return upper && `${upper}${line(back, [...low].reverse(), scaleY).replace("M", "L")}Z`;
}

// Curves of the validation images; cards of older versions have none.
const curvesOf = (model) => model.metrics?.validation?.curves ?? null;

// Whether the networks of a run's folds were measured: the model itself learned from all patients.
const isByFolds = (model) => Boolean(model.metrics?.validation?.by_folds);

function Plot({ title, explain, x, y, label, ticksY = UNIT, scaleY = (v) => v, children }) {
  return html`<figure class="plot">
    <h3>${title}</h3>
    <svg viewBox="0 0 300 300" role="img" aria-label=${label}>
      <rect class="frame" x=${LEFT} y=${TOP} width=${SIDE} height=${SIDE} />
      ${UNIT.map((tick) => html`<text x=${across(tick)} y=${TOP + SIDE + 16} text-anchor="middle">${tick}</text>`)}
      ${ticksY.map((tick) => html`<text x=${LEFT - 6} y=${up(scaleY(tick)) + 4} text-anchor="end">${tick}</text>`)}
      <text x=${LEFT + SIDE / 2} y=${TOP + SIDE + 34} text-anchor="middle">${x}</text>
      <text transform=${`translate(12 ${TOP + SIDE / 2}) rotate(-90)`} text-anchor="middle">${y}</text>
      ${children}
    </svg>
    <figcaption>${explain}</figcaption>
  </figure>`;
}

function Separation({ test }) {
  const bars = [
    [text.level.image, test.auc],
    [text.level.breast, test.breast?.auc],
    [text.level.age, test.with_age?.auc],
  ].filter(([, auc]) => auc);
  const label = bars.map(([name, auc]) => `${name}: ${figure(auc)}`).join("; ");
  return html`<figure class="plot">
    <h3>${text.auc}</h3>
    <svg viewBox="0 0 300 300" role="img" aria-label=${label}>
      <line class="chance" x1="155" x2="155" y1="20" y2="270" />
      ${bars.map(([name, auc], at) => html`<${Whisker} name=${name} auc=${auc} y=${60 + 80 * at} />`)}
      ${[0, 0.5, 1].map((tick) => html`<text x=${20 + 270 * tick} y="290" text-anchor="middle">${tick}</text>`)}
    </svg>
    <figcaption>${text.aucExplain}</figcaption>
  </figure>`;
}

function Whisker({ name, auc, y }) {
  const x = (share) => 20 + 270 * share;
  return html`<g>
    <text x="20" y=${y - 10}>${name}: ${figure(auc)}</text>
    <line class="range" x1=${x(auc.low)} x2=${x(auc.high)} y1=${y} y2=${y} />
    <circle class="dot" cx=${x(auc.value)} cy=${y} r="5" />
  </g>`;
}

function Roc({ model, test }) {
  const points = Object.entries(test.operating_points ?? {});
  const roc = curvesOf(model)?.roc;
  const validation = model.metrics?.validation?.auc;
  const label = points
    .map(([name, { sensitivity, specificity }]) => `${words.points[name] ?? name}: ${text.pair(figure(sensitivity), figure(specificity))}`)
    .concat(roc && validation ? [(isByFolds(model) ? text.foldsAuc : text.validationAuc)(figure(validation))] : [])
    .join("; ");
  return html`<${Plot}
    title=${roc ? text.rocCurve : text.roc} explain=${roc ? `${text.rocCurveExplain} ${text.rocExplain}` : text.rocExplain}
    x=${text.axes.falsely} y=${text.axes.sensitivity} label=${label}
  >
    ${roc && html`<path class="band" d=${band(roc.band.false_positive_rate, roc.band.low, roc.band.high)} />`}
    <line class="chance" x1=${across(0)} y1=${up(0)} x2=${across(1)} y2=${up(1)} />
    ${roc && html`<path class="curve" d=${line(roc.false_positive_rate, roc.sensitivity)} />`}
    ${points.map(([name, { sensitivity, specificity }]) => {
      const x = across(1 - specificity.value);
      const y = up(sensitivity.value);
      return html`<g key=${name}>
        <line class="range test" x1=${across(1 - specificity.high)} x2=${across(1 - specificity.low)} y1=${y} y2=${y} />
        <line class="range test" x1=${x} x2=${x} y1=${up(sensitivity.low)} y2=${up(sensitivity.high)} />
        <circle class="dot test" cx=${x} cy=${y} r="5" />
        ${name !== "high_specificity" && html`<text x=${Math.min(x + 8, LEFT + SIDE - 90)} y=${y + 22}>${words.points[name] ?? name}</text>`}
      </g>`;
    })}
  <//>`;
}

function Reliability({ model, test }) {
  const { calibration_slope: slope, calibration_intercept: intercept } = test;
  if (!slope) return null;
  const observed = (p, b = slope.value, a = intercept.value) => 1 / (1 + Math.exp(-(a + b * Math.log(p / (1 - p)))));
  const said = Array.from({ length: 33 }, (_, at) => 0.02 + (0.96 * at) / 32);
  const bins = curvesOf(model)?.reliability ?? [];
  const label = text.slopeAndIntercept(figure(slope), figure(intercept));
  const told = bins.map((each) => text.bin(each, words.percent(each.predicted), figure(each.observed)));
  return html`<${Plot}
    title=${text.reliability} explain=${`${bins.length ? text.reliabilityBins : ""} ${text.reliabilityExplain} ${label}.`}
    x=${text.axes.said} y=${text.axes.observed} label=${[label, ...told].join("; ")}
  >
    <line class="chance" x1=${across(0)} y1=${up(0)} x2=${across(1)} y2=${up(1)} />
    <path class="curve test" d=${line(said, said.map((p) => observed(p)))} />
    ${bins.map(({ predicted, observed: { value, low, high } }) => html`<g key=${predicted}>
      ${low !== null && html`<line class="range" x1=${across(predicted)} x2=${across(predicted)} y1=${up(low)} y2=${up(high)} />`}
      <circle class="dot" cx=${across(predicted)} cy=${up(value)} r="4" />
    </g>`)}
  <//>`;
}

// Vickers and Elkin 2006: net benefit = TP/n - FP/n x t/(1 - t).
export function netBenefit(sensitivity, specificity, prevalence, threshold) {
  return sensitivity * prevalence - ((1 - specificity) * (1 - prevalence) * threshold) / (1 - threshold);
}

function Decision({ model, test }) {
  const decision = curvesOf(model)?.decision;
  return decision ? html`<${DecisionCurve} decision=${decision} model=${model} />` : html`<${DecisionPoints} model=${model} test=${test} />`;
}

const BENEFITS = [-0.2, 0, 0.2, 0.4];
const benefitScale = (benefit) => (Math.min(Math.max(benefit, -0.2), 0.4) + 0.2) / 0.6;

function DecisionCurve({ decision, model }) {
  const { threshold, net_benefit: benefit, low, high, of_acting_on_all: everybody } = decision;
  const nearest = (wanted) => threshold.reduce((best, each, at) => (Math.abs(each - wanted) < Math.abs(threshold[best] - wanted) ? at : best), 0);
  const label = Object.entries(model.operating_points)
    .map(([name, point]) => [name, nearest(point.threshold)])
    .map(([name, at]) => text.benefitAt(words.points[name] ?? name, benefit[at], everybody[at], threshold[at]))
    .join("; ");
  const shown = everybody.filter((each) => each > -0.2); // recalling all falls below the frame
  return html`<${DecisionFrame} explain=${text.decisionCurveExplain} label=${label} allEnds=${threshold[shown.length - 1]}>
    <path class="band" d=${band(threshold, low, high, benefitScale)} />
    <path class="chance" d=${line(threshold.slice(0, shown.length), shown, benefitScale)} />
    <path class="curve" d=${line(threshold, benefit, benefitScale)} />
  <//>`;
}

function DecisionPoints({ model, test }) {
  const prevalence = statistics.dataPrevalence(model);
  const points = Object.entries(test.operating_points ?? {}).map(([name, point]) => ({
    name,
    threshold: point.threshold,
    benefit: netBenefit(point.sensitivity.value, point.specificity.value, prevalence, point.threshold),
  }));
  const end = (prevalence + 0.2) / 1.2; // where recalling all reaches the lower edge
  const thresholds = Array.from({ length: 25 }, (_, at) => (end * at) / 24);
  const label = points.map(({ name, threshold, benefit }) => `${words.points[name] ?? name}: net benefit ${benefit.toFixed(3)} at ${threshold.toFixed(2)}`).join("; ");
  return html`<${DecisionFrame} explain=${text.decisionExplain} label=${label} allEnds=${end}>
    <path class="chance" d=${line(thresholds, thresholds.map((t) => netBenefit(1, 0, prevalence, t)), benefitScale)} />
    ${points.map(({ name, threshold, benefit }) => html`<circle key=${name} class="dot test" cx=${across(threshold)} cy=${up(benefitScale(benefit))} r="5" />`)}
  <//>`;
}

function DecisionFrame({ explain, label, allEnds, children }) {
  return html`<${Plot}
    title=${text.decision} explain=${explain} x=${text.axes.threshold} y=${text.axes.benefit} label=${label}
    ticksY=${BENEFITS} scaleY=${benefitScale}
  >
    <line class="chance" x1=${across(0)} x2=${across(1)} y1=${up(benefitScale(0))} y2=${up(benefitScale(0))} />
    <text x=${across(0.8)} y=${up(benefitScale(0)) - 6}>${text.none}</text>
    <text x=${across(allEnds) - 12} y=${TOP + SIDE - 10} text-anchor="end">${text.all}</text>
    ${children}
  <//>`;
}

function Points({ model, test }) {
  const lines = LEVELS.flatMap((level) =>
    Object.keys(model.operating_points).map((name) => ({ level, name, found: statistics.measuredAt(model, name, level) })),
  ).filter(({ found }) => found);
  const values = (found) => {
    const { ppv, npv } = statistics.predictiveValues(found.sensitivity.value, found.specificity.value, PREVALENCE);
    return `${words.percent(ppv, 1)}, ${words.percent(npv, 1)}`;
  };
  return html`<div class="wide" tabindex="0" role="region" aria-label=${text.roc}><table>
    <thead><tr>${text.pointColumns.map((column) => html`<th scope="col">${column}</th>`)}</tr></thead>
    <tbody>${lines.map(({ level, name, found }) => html`<tr key=${`${level} ${name}`}>
      <th scope="row">${words.points[name] ?? name}, ${text.level[level]}</th>
      <td>${found.threshold.toFixed(3)}</td>
      <td>${figure(found.sensitivity)}</td>
      <td>${figure(found.specificity)}</td>
      <td>${values(found)}</td>
    </tr>`)}</tbody>
  </table></div>`;
}

function Groups({ test }) {
  const lines = Object.entries(test.groups ?? {}).flatMap(([kind, groups]) =>
    Object.entries(groups).map(([name, group]) => ({ name: `${kind} ${name}`, ...group })),
  );
  if (!lines.length) return null;
  return html`<h3>${text.subgroups}</h3>
    <p>${text.subgroupsExplain}</p>
    <div class="wide" tabindex="0" role="region" aria-label=${text.subgroups}><table>
      <thead><tr>${text.groupColumns.map((column) => html`<th scope="col">${column}</th>`)}<th scope="col" class="drawn"><span class="unseen">${text.axes.auc}</span></th></tr></thead>
      <tbody>${lines.map((group) => html`<tr key=${group.name}>
        <th scope="row">${group.name}</th><td>${group.images}</td><td>${group.positives}</td>
        <td>${figure(group.auc)}</td>
        <td class="drawn"><${Forest} auc=${group.auc} /></td>
      </tr>`)}</tbody>
    </table></div>`;
}

function Forest({ auc }) {
  if (!auc) return null;
  return html`<svg viewBox="0 0 100 12" class="forest" aria-hidden="true">
    <line class="chance" x1="50" x2="50" y1="0" y2="12" />
    <line class="range" x1=${100 * auc.low} x2=${100 * auc.high} y1="6" y2="6" />
    <circle class="dot" cx=${100 * auc.value} cy="6" r="3" />
  </svg>`;
}
