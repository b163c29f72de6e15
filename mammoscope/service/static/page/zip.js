// Reads a zip archive in the browser: PKWARE APPNOTE 6.3.10, stored and deflated entries.

const END = 0x06054b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const END_BYTES = 22;
const LONGEST_COMMENT = 0xffff;
const ZIP64 = 0xffffffff;

export const LIMITS = Object.freeze({ entries: 1000, bytes: 2 ** 30 });

export class ZipError extends Error {
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

async function view(blob, start, end) {
  return new DataView(await blob.slice(start, end).arrayBuffer());
}

async function findEnd(blob) {
  const from = Math.max(0, blob.size - END_BYTES - LONGEST_COMMENT);
  const tail = await view(blob, from, blob.size);
  for (let at = tail.byteLength - END_BYTES; at >= 0; at -= 1) {
    if (tail.getUint32(at, true) === END) {
      return {
        entries: tail.getUint16(at + 10, true),
        size: tail.getUint32(at + 12, true),
        offset: tail.getUint32(at + 16, true),
      };
    }
  }
  throw new ZipError("damaged");
}

function* directory(data, count) {
  const text = new TextDecoder();
  let at = 0;
  for (let entry = 0; entry < count; entry += 1) {
    if (at + 46 > data.byteLength || data.getUint32(at, true) !== CENTRAL) {
      throw new ZipError("damaged");
    }
    const [name, extra, comment] = [28, 30, 32].map((field) => data.getUint16(at + field, true));
    yield {
      encrypted: (data.getUint16(at + 8, true) & 1) === 1,
      method: data.getUint16(at + 10, true),
      packed: data.getUint32(at + 20, true),
      size: data.getUint32(at + 24, true),
      offset: data.getUint32(at + 42, true),
      name: text.decode(new Uint8Array(data.buffer, data.byteOffset + at + 46, name)),
    };
    at += 46 + name + extra + comment;
  }
}

async function content(blob, entry, most) {
  const head = await view(blob, entry.offset, entry.offset + 30);
  if (head.byteLength < 30 || head.getUint32(0, true) !== LOCAL) throw new ZipError("damaged");
  const start = entry.offset + 30 + head.getUint16(26, true) + head.getUint16(28, true);
  const packed = blob.slice(start, start + entry.packed);
  if (entry.method === 0) {
    if (packed.size > most) throw new ZipError("large");
    return packed;
  }
  if (entry.method !== 8) throw new ZipError("method");
  // What the directory says of the size is the sender's word: count what comes.
  const reader = packed.stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const parts = [];
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw new ZipError("damaged");
    });
    if (done) return new Blob(parts);
    bytes += value.byteLength;
    if (bytes > most) {
      await reader.cancel();
      throw new ZipError("large");
    }
    parts.push(value);
  }
}

// Yields a File for each entry that `wanted` takes; raises ZipError beyond the limits.
export async function* entries(blob, wanted = () => true, limits = LIMITS) {
  const end = await findEnd(blob);
  if (end.offset === ZIP64 || end.entries === 0xffff) throw new ZipError("large");
  if (end.entries > limits.entries) throw new ZipError("entries");
  const data = await view(blob, end.offset, end.offset + end.size);
  let left = limits.bytes;
  for (const entry of directory(data, end.entries)) {
    if (entry.name.endsWith("/") || !wanted(entry.name)) continue;
    if (entry.encrypted) throw new ZipError("encrypted");
    const unpacked = await content(blob, entry, left);
    left -= unpacked.size;
    yield new File([unpacked], entry.name.split("/").pop(), { lastModified: 0 });
  }
}
