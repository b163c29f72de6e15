// Pixels: display images, layers and thumbnails.

import * as api from "./api.js";

const THUMB_SIDE = 112;
export const LEAST = 1;
export const MOST = 65535;

// Lets the browser answer people between two pieces of work.
const pause = () => new Promise((resolve) => setTimeout(resolve));

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const letters = atob(base64);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at += 1) bytes[at] = letters.charCodeAt(at);
  return bytes;
}

async function bitmapOf(base64) {
  await pause();
  return createImageBitmap(new Blob([bytesOf(base64)], { type: "image/png" }));
}

// Bitmaps of an answer's layers, and the address of a thumbnail.
export async function layersOf(given) {
  const preprocessed = await bitmapOf(given.preprocessed);
  const heat = await bitmapOf(given.heat);
  const thumb = await thumbnail(preprocessed, heat, given.mirrored);
  return { ...given, preprocessed, heat, thumb };
}

// The preprocessed image is stretched to a square and perhaps mirrored: undo both.
async function thumbnail(preprocessed, shape, mirrored) {
  const scale = THUMB_SIDE / Math.max(shape.width, shape.height);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(shape.width * scale));
  canvas.height = Math.max(1, Math.round(shape.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  if (mirrored) context.setTransform(-1, 0, 0, 1, canvas.width, 0);
  context.drawImage(preprocessed, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  return URL.createObjectURL(blob);
}

export async function displayOf(item, full, options) {
  const { data, headers } = await api.display(item, full, options);
  const number = (name) => {
    const text = headers(name);
    return text === null ? null : Number(text);
  };
  const rows = number("Image-Rows");
  const columns = number("Image-Columns");
  const row = number("Image-Row-Spacing");
  return {
    values: new Uint16Array(data),
    rows,
    columns,
    sourceRows: number("Image-Source-Rows"),
    sourceColumns: number("Image-Source-Columns"),
    window: { centre: number("Image-Window-Center"), width: number("Image-Window-Width") },
    laterality: headers("Image-Laterality"),
    view: headers("Image-View"),
    orientation: headers("Image-Orientation")?.split(",") ?? null,
    spacing:
      row === null
        ? null
        : { row, column: number("Image-Column-Spacing"), origin: headers("Image-Spacing-Origin") },
  };
}

// Greys of all 65,536 values as RGBA words. 0 is padding, which stays black when inverted.
export function greys({ centre, width }, invert) {
  const table = new Uint32Array(MOST + 1);
  const low = centre - width / 2;
  for (let value = LEAST; value <= MOST; value += 1) {
    let grey = ((value - low) / width) * 255;
    grey = grey < 0 ? 0 : grey > 255 ? 255 : Math.round(grey);
    if (invert) grey = 255 - grey;
    table[value] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
  }
  table[0] = 0xff000000;
  return table;
}

// Draws a display image through a window onto a canvas of its own size.
export function paint(canvas, display, window, invert) {
  if (canvas.width !== display.columns || canvas.height !== display.rows) {
    canvas.width = display.columns;
    canvas.height = display.rows;
  }
  const context = canvas.getContext("2d", { alpha: false });
  const image = context.createImageData(display.columns, display.rows);
  const words = new Uint32Array(image.data.buffer);
  const table = greys(window, invert);
  const { values } = display;
  for (let at = 0; at < words.length; at += 1) words[at] = table[values[at]];
  context.putImageData(image, 0, 0);
}
