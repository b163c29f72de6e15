// A few tags of a DICOM file (PS3.10), so that views of one study find each other without a
// patient's identity leaving the browser. What cannot be read counts as missing.

const HEAD_BYTES = 256 * 1024;
const LONG = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]);
const UNDEFINED = 0xffffffff;
const PIXELS = 0x7fe00010;
const IMPLICIT = "1.2.840.10008.1.2";
const DEFLATED = "1.2.840.10008.1.2.1.99";
const BIG_ENDIAN = "1.2.840.10008.1.2.2";
const TRANSFER_SYNTAX = 0x00020010;

const WANTED = new Map([
  [0x00100020, "patient"],
  [0x00100021, "issuer"],
  [0x0020000d, "study"],
  [0x00200060, "side"],
  [0x00200062, "laterality"],
  [0x00185101, "view"],
]);

export async function isDicom(blob) {
  const start = new Uint8Array(await blob.slice(128, 132).arrayBuffer());
  return String.fromCharCode(...start) === "DICM";
}

export async function tags(blob) {
  if (!(await isDicom(blob))) return null;
  try {
    return await read(blob);
  } catch {
    return {};
  }
}

async function read(blob) {
  const head = await blob.slice(0, HEAD_BYTES).arrayBuffer();
  const meta = new Cursor(new DataView(head), 132, true, true);
  const found = {};
  meta.elements(found, (tag) => tag >>> 16 === 2);
  const syntax = found.syntax ?? "";
  if (syntax === DEFLATED) {
    const rest = blob.slice(meta.at).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    const { value } = await rest.getReader().read();
    const plain = new DataView(value.buffer, value.byteOffset, value.byteLength);
    new Cursor(plain, 0, true, true).elements(found, () => true);
  } else {
    new Cursor(meta.data, meta.at, syntax !== BIG_ENDIAN, syntax !== IMPLICIT).elements(
      found,
      () => true,
    );
  }
  return {
    study: found.study || null,
    patient: found.patient ? `${found.issuer ?? ""}\n${found.patient}` : null,
    laterality: ["L", "R"].find((side) => side === (found.laterality || found.side)) ?? null,
    view: found.view || null,
  };
}

class Cursor {
  constructor(data, at, little, explicit) {
    Object.assign(this, { data, at, little, explicit });
  }

  tag() {
    const group = this.data.getUint16(this.at, this.little);
    return group * 0x10000 + this.data.getUint16(this.at + 2, this.little);
  }

  // Moves past tag, VR and length; returns the length.
  head() {
    const explicit = this.explicit && this.data.getUint16(this.at, this.little) !== 0xfffe;
    if (!explicit) {
      const length = this.data.getUint32(this.at + 4, this.little);
      this.at += 8;
      return length;
    }
    const vr = String.fromCharCode(this.data.getUint8(this.at + 4), this.data.getUint8(this.at + 5));
    const long = LONG.has(vr);
    const length = long
      ? this.data.getUint32(this.at + 8, this.little)
      : this.data.getUint16(this.at + 6, this.little);
    this.at += long ? 12 : 8;
    return length;
  }

  elements(found, wanted) {
    while (this.at + 8 <= this.data.byteLength) {
      const tag = this.tag();
      if (tag >= PIXELS || !wanted(tag)) return;
      const length = this.head();
      if (length === UNDEFINED) {
        this.skipSequence();
        continue;
      }
      if (this.at + length > this.data.byteLength) return;
      const name = tag === TRANSFER_SYNTAX ? "syntax" : WANTED.get(tag);
      if (name) found[name] = this.text(length);
      this.at += length;
    }
  }

  text(length) {
    const bytes = new Uint8Array(this.data.buffer, this.data.byteOffset + this.at, length);
    return new TextDecoder("latin1").decode(bytes).replace(/[\0 ]+$/, "").trim();
  }

  // Items of undefined length may hold sequences of undefined length.
  skipSequence() {
    for (;;) {
      const tag = this.tag();
      const length = this.head();
      if (tag === 0xfffee0dd || tag === 0xfffee00d) return;
      if (length === UNDEFINED) this.skipSequence();
      else this.at += length;
    }
  }
}
