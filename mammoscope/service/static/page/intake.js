// Files from wherever they are dropped, chosen or pasted, one after another.

import { config } from "./config.js";
import { isDicom } from "./dicom.js";
import { entries, ZipError } from "./zip.js";

const LEFT_OUT = new Set(["dicomdir", "thumbs.db"]);

function suffixOf(name) {
  const at = name.lastIndexOf(".");
  return at > 0 ? name.slice(at).toLowerCase() : "";
}

function isHidden(name) {
  return name.startsWith(".") || name.startsWith("__MACOSX") || LEFT_OUT.has(name.toLowerCase());
}

// DICOM files of archives often have no suffix, or a number.
export async function isImage(file) {
  if (isHidden(file.name)) return false;
  const suffix = suffixOf(file.name);
  if (config.suffixes.includes(suffix)) return true;
  return (!suffix || /^\.[\d.]+$/.test(suffix)) && (await isDicom(file));
}

export function isZip(file) {
  return suffixOf(file.name) === ".zip" || file.type === "application/zip";
}

// All files below a dropped entry. A folder gives its entries in batches, until one is empty.
export async function* walk(entry) {
  if (entry.isFile) {
    yield await new Promise((resolve, reject) => entry.file(resolve, reject));
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!batch.length) return;
    for (const each of batch) yield* walk(each);
  }
}

// A dropped list is emptied as soon as the event is over: take its entries first.
export function dropped(transfer) {
  const found = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile())
    .filter(Boolean);
  return filesOf(found);
}

async function* filesOf(found) {
  for (const each of found) {
    if (each instanceof File) yield each;
    else yield* walk(each);
  }
}

// Yields {file} for each image and {refused: {name, reason}} for what cannot be opened. What is
// chosen one by one is taken as it is, so that the service says why it cannot be read; of folders
// and archives only images are.
export async function* images(files, { sift }) {
  for await (const file of files) {
    if (isZip(file)) yield* unpacked(file);
    else if (!sift || (await isImage(file))) yield { file };
  }
}

async function* unpacked(archive) {
  const wanted = (name) => !name.split("/").some(isHidden);
  try {
    for await (const file of entries(archive, wanted)) {
      if (await isImage(file)) yield { file };
    }
  } catch (error) {
    const reason = error instanceof ZipError ? error.reason : "damaged";
    yield { refused: { name: archive.name, reason } };
  }
}
