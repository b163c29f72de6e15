// What the page knows, and all that changes it.

import * as api from "./api.js";
import { config } from "./config.js";
import { tags } from "./dicom.js";
import { displayOf, layersOf } from "./images.js";
import { images } from "./intake.js";
import { Queue } from "./queue.js";
import * as statistics from "./statistics.js";
import { words } from "./strings.js";

const SCREENING_PREVALENCE = 0.02;
const MODEL_RETRY_MS = 2000;
const KEPT_DISPLAYS = 12;

// A finger moves the image, a mouse sets the window.
const firstTool = matchMedia("(pointer: coarse)").matches ? "pan" : "window";

export const state = {
  model: null,
  modelError: null,
  items: [],
  studies: new Map(),
  selected: null,
  point: config.operatingPoint,
  prevalence: SCREENING_PREVALENCE,
  age: null,
  filter: "",
  show: "all",
  sort: "added",
  opening: 0,
  waitingUntil: 0,
  view: { hang: false, invert: false, heat: true, opacity: 0.35, network: false, tool: firstTool },
};

const listeners = new Set();
let scheduled = false;
let nextId = 1;
let nextStudy = 1;

export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

// Many changes of one moment are drawn once.
export function changed() {
  if (scheduled) return;
  scheduled = true;
  const tell = () => {
    if (!scheduled) return;
    scheduled = false;
    for (const listener of listeners) listener();
  };
  requestAnimationFrame(tell);
  setTimeout(tell, 100); // a tab in the background draws no frames
}

export function set(values) {
  Object.assign(state, values);
  changed();
}

export function setView(values) {
  Object.assign(state.view, values);
  changed();
}

export const queue = new Queue(() => set({ waitingUntil: queue.until }));

// ---- the model

export async function loadModel() {
  for (;;) {
    try {
      const { data } = await api.models();
      set({ model: data, modelError: null, point: state.point ?? data.operating_point });
      return;
    } catch (error) {
      if (error.name === "AbortError") return;
      set({ modelError: error.retryAfter ? words.errors.loadingModel : error.message });
      if (!error.retryAfter) return;
      await new Promise((resolve) => setTimeout(resolve, MODEL_RETRY_MS));
    }
  }
}

// ---- images in

export async function addFiles(files, { sift = false } = {}) {
  set({ opening: state.opening + 1 });
  try {
    for await (const { file, refused } of images(files, { sift })) {
      if (refused) refuse(refused.name, words.zip[refused.reason]);
      else await addFile(file);
    }
  } finally {
    set({ opening: state.opening - 1 });
  }
}

async function addFile(file) {
  if (file.size > config.maxImageBytes) {
    refuse(file.name, words.errors.large(config.maxImageBytes));
    return;
  }
  const found = await tags(file);
  const item = add({ name: file.name, file, tags: found });
  if (found?.study) {
    item.study = studyOfTags(found.study);
    hangSecond(item);
  }
  start(item);
}

// The second view of the study that is looked at hangs beside the first.
function hangSecond(item) {
  const study = state.studies.get(item.study);
  if (selectedItem()?.study === item.study && membersOf(study).length === 2) state.view.hang = true;
}

export function addUrl(url) {
  const name = decodeURIComponent(new URL(url).pathname.split("/").pop() || url);
  start(add({ name, url }));
}

export async function addPhantoms() {
  set({ opening: state.opening + 1 });
  try {
    for (const [laterality, view] of [["R", "CC"], ["L", "CC"], ["R", "MLO"], ["L", "MLO"]]) {
      await addFile(await api.phantom(config.phantom, laterality, view));
    }
  } catch (error) {
    refuse("phantom", error.message);
  } finally {
    set({ opening: state.opening - 1 });
  }
}

function refuse(name, reason) {
  Object.assign(add({ name }), { status: "failed", error: { message: reason, code: "page" } });
  changed();
}

function add(values) {
  const item = {
    id: nextId,
    file: null,
    url: null,
    tags: null,
    study: null,
    status: "waiting",
    progress: 0,
    answer: null,
    layers: null,
    error: null,
    placed: {},
    display: null,
    ...values,
  };
  nextId += 1;
  state.items = [...state.items, item];
  changed();
  return item;
}

// ---- prediction

export function start(item) {
  const abort = new AbortController();
  Object.assign(item, { status: "waiting", progress: 0, error: null });
  const task = async () => {
    item.status = "sending";
    changed();
    const { data } = await api.predict(item, {
      signal: abort.signal,
      progress: (share) => {
        item.progress = share;
        if (share >= 1) item.status = "running";
        changed();
      },
    });
    return data;
  };
  const entry = queue.add(task);
  item.cancel = () => {
    abort.abort();
    entry.cancel();
  };
  changed();
  entry.done.then((answer) => finish(item, answer), (error) => fail(item, error));
}

async function finish(item, answer) {
  const { layers, ...rest } = answer;
  Object.assign(item, { status: "done", answer: rest, answeredAt: performance.now() });
  changed();
  item.layers = await layersOf(layers).catch(() => null);
  if (state.selected === null) select(item.id);
  changed();
  scoreStudies();
}

function fail(item, error) {
  item.status = error.name === "AbortError" ? "cancelled" : "failed";
  item.error = { message: error.name === "AbortError" ? words.errors.cancelled : error.message, code: error.code };
  changed();
  scoreStudies();
}

export function cancelAll() {
  for (const item of state.items) if (isOpen(item)) item.cancel?.();
}

export function remove(item) {
  if (isOpen(item)) item.cancel?.();
  const at = state.items.indexOf(item);
  state.items = state.items.filter((each) => each !== item);
  if (item.layers) URL.revokeObjectURL(item.layers.thumb);
  if (state.selected === item.id) select((state.items[at] ?? state.items[at - 1])?.id ?? null);
  dropEmptyStudies();
  scoreStudies();
  changed();
}

export function clear() {
  for (const item of [...state.items]) remove(item);
}

// Images that are no mammogram to the network can still be looked at.
const SEEN = new Set(["no_breast", "not_a_mammogram"]);
export const isShowable = (item) => Boolean(item.answer) || SEEN.has(item.error?.code);

export const isOpen = (item) => ["waiting", "sending", "running"].includes(item.status);

// ---- what an image shows, and how it is called

export function place(item) {
  return {
    laterality: item.placed.laterality ?? item.layers?.laterality ?? item.tags?.laterality ?? null,
    view: item.placed.view ?? item.layers?.view ?? item.tags?.view ?? null,
  };
}

export function verdict(item) {
  if (!item.answer) return null;
  const { model, point, age } = state;
  if (!model) return { p: item.answer.probability, threshold: item.answer.threshold, label: item.answer.label };
  return decided(statistics.probability(model, item.answer.logit, age), statistics.threshold(model, point));
}

export function levelVerdict(result, level) {
  const { model, point } = state;
  const limit = model ? statistics.threshold(model, point, level) : result.threshold;
  return decided(result.probability, limit);
}

function decided(p, threshold) {
  return { p, threshold, label: p >= threshold ? "tumour" : "no tumour" };
}

// ---- studies

function studyOfTags(uid) {
  for (const study of state.studies.values()) if (study.uid === uid) return study.id;
  return newStudy(uid).id;
}

function newStudy(uid = null) {
  const study = { id: nextStudy, uid, number: nextStudy, result: null, error: null, scoring: false, scored: "" };
  nextStudy += 1;
  state.studies.set(study.id, study);
  return study;
}

export function putInto(item, choice) {
  item.study = choice === "new" ? newStudy().id : choice;
  dropEmptyStudies();
  scoreStudies();
  changed();
}

export function putAt(item, values) {
  item.placed = { ...item.placed, ...values };
  scoreStudies();
  changed();
}

export const membersOf = (study) => state.items.filter((item) => item.study === study.id);

function dropEmptyStudies() {
  for (const study of [...state.studies.values()]) {
    if (!membersOf(study).length) state.studies.delete(study.id);
  }
}

// Whether the images name two patients, or the service found two.
export function isMixed(study) {
  const named = new Set(membersOf(study).map((item) => item.tags?.patient).filter(Boolean));
  return named.size > 1 || (study.result?.patients.length ?? 0) > 1;
}

// Scores each study once all its images have answers, and again when they change.
function scoreStudies() {
  for (const study of state.studies.values()) {
    const members = membersOf(study);
    const answered = members.filter((item) => item.answer);
    if (members.some(isOpen) || answered.length < 2) continue;
    const key = JSON.stringify(answered.map((item) => [item.id, place(item)]));
    if (key === study.scored) continue;
    Object.assign(study, { scored: key, result: null, error: null, scoring: false });
    if (isMixed(study)) continue;
    scoreStudy(study, answered, key);
  }
}

async function scoreStudy(study, answered, key) {
  if (answered.length > config.maxStudyImages) study.error = words.worklist.tooMany(config.maxStudyImages);
  if (answered.some((item) => !item.file)) study.error = words.worklist.noFiles;
  changed();
  if (study.error) return;
  const given = answered.map((item) => ({ file: item.file, name: item.name, ...place(item) }));
  const patient = `study ${study.number}`;
  study.scoring = true;
  try {
    const { data } = await queue.add(() => api.study(given, patient)).done;
    if (study.scored === key) study.result = data;
  } catch (error) {
    if (study.scored === key) study.error = error.message;
  } finally {
    if (study.scored === key) study.scoring = false;
    changed();
  }
}

export function breastOf(item) {
  const study = state.studies.get(item.study);
  const { laterality } = place(item);
  if (!study?.result || isMixed(study) || !laterality) return null;
  return study.result.breasts.find((breast) => breast.laterality === laterality) ?? null;
}

// ---- selection

export function select(id) {
  const before = state.items.find((item) => item.id === state.selected);
  const item = state.items.find((each) => each.id === id);
  state.selected = id;
  if (item && item.study !== before?.study) {
    const placed = item.study === null ? 0 : membersOf(state.studies.get(item.study)).length;
    state.view.hang = placed > 1;
  }
  changed();
}

export const selectedItem = () => state.items.find((item) => item.id === state.selected) ?? null;

export function listed() {
  const text = state.filter.trim().toLowerCase();
  const shown = state.items.filter((item) => item.name.toLowerCase().includes(text) && isShown(item));
  const order = {
    added: (item) => item.id,
    name: (item) => item.name.toLowerCase(),
    probability: (item) => -(verdict(item)?.p ?? -1),
    view: (item) => `${place(item).laterality ?? "Z"} ${place(item).view ?? "Z"}`,
  }[state.sort];
  return shown.sort((a, b) => (order(a) < order(b) ? -1 : order(a) > order(b) ? 1 : a.id - b.id));
}

function isShown(item) {
  if (state.show === "all") return true;
  if (state.show === "failed") return item.status === "failed";
  if (state.show === "warnings") return Boolean(item.answer?.warnings.length);
  return verdict(item)?.label === state.show;
}

export function step(by, from = state.selected) {
  const items = listed();
  const at = items.findIndex((item) => item.id === from);
  const next = items[Math.min(Math.max(at + by, 0), items.length - 1)];
  if (next) select(next.id);
}

// ---- display images: few are kept, each is tens of megabytes

const shown = [];

export function loadDisplay(item, full = false) {
  const needs = full && item.display && item.display.full === false;
  if (item.display && !needs) return;
  const kept = item.display?.image ?? null;
  const display = { full, image: kept, error: null, loading: true };
  item.display = display;
  queue
    .add(() => displayOf(item, full), { first: true })
    .done.then(
      (image) => {
        Object.assign(display, { image, loading: false, full: full || image.rows === image.sourceRows });
        keep(item);
      },
      (error) => Object.assign(display, { error: error.message, loading: false }),
    )
    .finally(changed);
}

function keep(item) {
  const at = shown.indexOf(item);
  if (at >= 0) shown.splice(at, 1);
  shown.push(item);
  while (shown.length > KEPT_DISPLAYS) shown.shift().display = null;
}
