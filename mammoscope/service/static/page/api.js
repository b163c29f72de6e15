// Requests to the service. The API key stays in this module's memory.

import { address } from "./config.js";
import { words } from "./strings.js";

const KEY_HEADER = "X-API-Key";
const UNAUTHORIZED = 401;
const BUSY = new Set([429, 503]);

let key = null;
let asking = null;
let askForKey = () => Promise.reject(new Error("nobody asks for the key"));

export class Refusal extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? words.errors.network);
    this.status = status;
    this.code = problem?.code ?? "network";
  }
}

// `ask` returns a promise of a key; it is told whether one was refused.
export function onKeyNeeded(ask) {
  askForKey = ask;
}

export function hasKey() {
  return key !== null;
}

async function newKey(refused) {
  if (key !== refused) return; // another request has asked meanwhile
  asking ??= askForKey(refused !== null).finally(() => {
    asking = null;
  });
  key = await asking;
}

// Sends a request and returns {headers, data}. `type` is XMLHttpRequest's responseType.
export async function send(path, options = {}) {
  for (;;) {
    const used = key;
    const answer = await once(path, options, used);
    if (answer.status !== UNAUTHORIZED) return finished(answer);
    await newKey(used);
  }
}

function once(path, { method = "GET", body = null, json, type = "json", progress, signal }, used) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const cancelled = () => reject(new DOMException("cancelled", "AbortError"));
    if (signal?.aborted) return cancelled();
    request.open(method, address(path));
    request.responseType = type === "json" ? "text" : type;
    // Without it the browser would ask for a name and a password of its own.
    request.setRequestHeader("X-Requested-With", "XMLHttpRequest");
    if (used !== null) request.setRequestHeader(KEY_HEADER, used);
    if (json !== undefined) request.setRequestHeader("Content-Type", "application/json");
    if (progress) {
      request.upload.onprogress = (event) =>
        progress(event.lengthComputable ? event.loaded / event.total : 0);
      request.upload.onload = () => progress(1);
    }
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.onabort = cancelled;
    request.onerror = () => reject(new Refusal(0, null));
    request.onload = () =>
      resolve({
        status: request.status,
        data: request.response,
        type,
        headers: (name) => request.getResponseHeader(name),
      });
    request.send(json === undefined ? body : JSON.stringify(json));
  });
}

function finished(answer) {
  if (answer.status >= 200 && answer.status < 300) {
    const data = answer.type === "json" ? JSON.parse(answer.data) : answer.data;
    return { data, headers: answer.headers };
  }
  const refusal = new Refusal(answer.status, problemOf(answer.data));
  const retry = Number(answer.headers("Retry-After"));
  if (BUSY.has(answer.status) && retry > 0) refusal.retryAfter = retry;
  throw refusal;
}

function problemOf(data) {
  try {
    const text = data instanceof ArrayBuffer ? new TextDecoder().decode(data) : data;
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// An upload as the form of /predict and /display, or a URL as JSON.
export function upload(item, age = null) {
  if (item.url) return { json: age === null ? { url: item.url } : { url: item.url, age } };
  const form = new FormData();
  form.append("file", item.file, item.name);
  if (age !== null) form.append("age", String(age));
  return { body: form };
}

export const models = () => send("/model");

export const predict = (item, options) =>
  send("/predict?layers=true", { method: "POST", ...upload(item), ...options });

export const display = (item, full, options) =>
  send(`/display${full ? "?full=true" : ""}`, {
    method: "POST",
    type: "arraybuffer",
    ...upload(item),
    ...options,
  });

export function study(images, patient, options) {
  const form = new FormData();
  for (const image of images) form.append("file", image.file, image.name);
  for (const image of images) form.append("laterality", image.laterality ?? "");
  for (const image of images) form.append("view", image.view ?? "");
  if (patient !== null) form.append("patient", patient);
  return send("/studies", { method: "POST", body: form, ...options });
}

export async function phantom(woman, laterality, view) {
  const name = `${laterality}-${view}.dcm`;
  const { data } = await send(`/phantoms/${woman}/${name}`, { type: "arraybuffer" });
  return new File([data], `phantom-${name}`, { type: "application/dicom", lastModified: 0 });
}
