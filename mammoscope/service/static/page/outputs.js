// What can be taken along: tables, the overlay as PNG, the request as code.

import { html, useState } from "../vendor/htm-preact.js";
import { hasKey } from "./api.js";
import { absolute } from "./config.js";
import { displayOf, paint } from "./images.js";
import { place, queue, state, verdict } from "./store.js";
import { words } from "./strings.js";

const text = words.out;
const COLUMNS = [
  "level", "study", "patient", "laterality", "view", "file", "label", "probability", "threshold",
  "operating_point", "age", "logit", "model_version", "missing_views", "error", "warnings",
];

export function download(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link); // a form in another document would not start the download
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Rows of images, breasts and patients, as the page shows them.
export function rows() {
  const images = state.items.map((item) => {
    const decided = verdict(item);
    return {
      level: "image",
      study: state.studies.get(item.study)?.number ?? "",
      ...place(item),
      file: item.name,
      label: decided?.label,
      probability: decided?.p,
      threshold: decided?.threshold,
      operating_point: decided && state.point,
      age: item.answer ? state.age : null,
      logit: item.answer?.logit,
      model_version: item.answer?.model_version,
      error: item.error?.code ?? item.error?.message,
      warnings: item.answer?.warnings.join("; "),
    };
  });
  const studies = [...state.studies.values()].flatMap(({ number, result }) =>
    ["breast", "patient"].flatMap((level) =>
      (result?.[level === "breast" ? "breasts" : "patients"] ?? []).map((each) => ({
        ...each,
        level,
        study: number,
        model_version: result.model_version,
        missing_views: each.missing_views.join("; "),
      })),
    ),
  );
  return [...images, ...studies];
}

// RFC 4180. A cell that a spreadsheet would run as a formula is quoted with an apostrophe.
export function csv(table) {
  const cell = (value) => {
    let given = value === null || value === undefined ? "" : String(value);
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(given)) given = `'${given}`;
    return /[",\r\n]/.test(given) ? `"${given.replaceAll('"', '""')}"` : given;
  };
  const lines = [COLUMNS, ...table.map((row) => COLUMNS.map((column) => row[column]))];
  return lines.map((line) => `${line.map(cell).join(",")}\r\n`).join("");
}

export function listAsJson() {
  const images = state.items.map((item) => ({
    file: item.name,
    ...place(item),
    study: state.studies.get(item.study)?.number ?? null,
    answer: item.answer,
    error: item.error,
  }));
  const studies = [...state.studies.values()].map(({ number, result }) => ({ study: number, result }));
  return JSON.stringify({ operating_point: state.point, age: state.age, images, studies }, null, 2);
}

// The whole image with its heat map, as stored, in the resolution of the display image.
async function overlay(item) {
  const image = item.display?.image ?? (await queue.add(() => displayOf(item, false)).done);
  const canvas = document.createElement("canvas");
  paint(canvas, image, image.window, state.view.invert);
  const context = canvas.getContext("2d");
  const [top, left, bottom, right] = item.layers.box;
  context.globalAlpha = state.view.opacity;
  context.imageSmoothingQuality = "high";
  context.drawImage(
    item.layers.heat,
    left * canvas.width,
    top * canvas.height,
    (right - left) * canvas.width,
    (bottom - top) * canvas.height,
  );
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  download(`${item.name.replace(/\.[^.]*$/, "")}-heat-map.png`, blob);
}

// ---- the very request, in three languages

const quoted = (given) => JSON.stringify(given);
const shell = (given) => `'${given.replaceAll("'", "'\\''")}'`;

export function snippet(language, item) {
  const url = absolute("/predict");
  const { age } = state;
  const body = item.url ? JSON.stringify(age === null ? { url: item.url } : { url: item.url, age }) : null;
  return { curl, python, javascript }[language]({ url, age, item, body, key: hasKey() });
}

function curl({ url, age, item, body, key }) {
  const secret = key ? ` \\\n  --header "X-API-Key: $API_KEY"` : "";
  if (body) return `curl${secret} --header 'Content-Type: application/json' \\\n  --data ${shell(body)} ${url}`;
  const years = age === null ? "" : ` --form age=${age}`;
  return `curl${secret} --form ${shell(`file=@${item.name}`)}${years} ${url}`;
}

function python({ url, age, item, body, key }) {
  const secret = key ? `\n    headers={"X-API-Key": API_KEY},` : "";
  const years = age === null ? "" : `\n    data={"age": ${age}},`;
  const sent = body ? `\n    json=${body},` : `\n    files={"file": open(${quoted(item.name)}, "rb")},${years}`;
  return `import requests\n\nanswer = requests.post(\n    ${quoted(url)},${secret}${sent}\n    timeout=60,\n)\nanswer.raise_for_status()\nprint(answer.json())`;
}

function javascript({ url, age, item, body, key }) {
  const headers = [key && `"X-API-Key": apiKey`, body && `"Content-Type": "application/json"`].filter(Boolean);
  const told = headers.length ? `\n  headers: { ${headers.join(", ")} },` : "";
  if (body) {
    return `const answer = await fetch(${quoted(url)}, {\n  method: "POST",${told}\n  body: ${quoted(body)},\n});\nconsole.log(await answer.json());`;
  }
  const years = age === null ? "" : `form.append("age", "${age}");\n`;
  return `const form = new FormData();\nform.append("file", file, ${quoted(item.name)}); // a File\n${years}const answer = await fetch(${quoted(url)}, {\n  method: "POST",${told}\n  body: form,\n});\nconsole.log(await answer.json());`;
}

async function copy(given) {
  // Browsers offer the clipboard to pages of HTTPS and of this machine.
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(given);
    return true;
  }
  const area = document.createElement("textarea");
  area.value = given;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

export function Outputs({ item }) {
  const [language, choose] = useState("curl");
  const [said, say] = useState("");
  const code = snippet(language, item);
  const copyAs = async (each) => {
    choose(each);
    say((await copy(snippet(each, item)).catch(() => false)) ? text.copied : text.notCopied);
  };
  return html`<section class="outputs">
    <h3>${text.title}</h3>
    <p class="buttons">
      ${item.layers && html`<button type="button" onClick=${() => overlay(item)}>${text.png}</button>`}
      <button type="button" onClick=${() => download("worklist.csv", new Blob([csv(rows())], { type: "text/csv" }))}>${text.csv}</button>
      <button type="button" onClick=${() => download("worklist.json", new Blob([listAsJson()], { type: "application/json" }))}>${text.json}</button>
      <button type="button" onClick=${() => window.print()}>${text.print}</button>
    </p>
    <details>
      <summary>${text.request}</summary>
      <p class="buttons">${text.copy}
        ${["curl", "python", "javascript"].map(
          (each) => html`<button type="button" aria-pressed=${each === language ? "true" : "false"} onClick=${() => copyAs(each)}>${text[each]}</button>`,
        )}
      </p>
      <pre tabindex="0" aria-label=${text.request}><code>${code}</code></pre>
      <p role="status" class="small">${said}</p>
    </details>
  </section>`;
}
