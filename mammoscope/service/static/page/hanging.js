// How mammograms hang: IHE Mammography Image, RAD TF-2 4.16.4.2.2.1.1.
// The right breast hangs on the left of the screen, both chest walls in the middle, CC above MLO.

const OPPOSITE = { A: "P", P: "A", L: "R", R: "L", H: "F", F: "H" };
const FROM_ABOVE = new Set(["CC", "XCCL", "XCCM", "FB"]);

export const SLOTS = Object.freeze([
  { laterality: "R", row: "CC" },
  { laterality: "L", row: "CC" },
  { laterality: "R", row: "MLO" },
  { laterality: "L", row: "MLO" },
]);

export function rowOf(view) {
  if (!view) return null;
  return FROM_ABOVE.has(view) ? "CC" : "MLO";
}

// Directions in which rows and columns run on the screen.
export function wanted(laterality, view) {
  const across = laterality === "R" ? "P" : "A";
  if (rowOf(view) === "CC") return [across, laterality === "R" ? "L" : "R"];
  return [across, "F"];
}

// Turn the stored image into the hung one: first exchange rows and columns, then flip.
// Null where the tags do not say enough, or nothing has to be done.
export function putRight(orientation, laterality, view) {
  if (!orientation || !laterality || !view) return null;
  const [across, down] = wanted(laterality, view);
  // FR means mostly to the feet: the first letter decides.
  const [row, column] = orientation.map((direction) => direction[0]);
  const along = (direction, axis) => direction === axis || direction === OPPOSITE[axis];
  const transpose = along(row, down) && along(column, across);
  if (!transpose && !along(row, across)) return null;
  const [screenRow, screenColumn] = transpose ? [column, row] : [row, column];
  const turned = {
    transpose,
    flipX: screenRow === OPPOSITE[across],
    flipY: screenColumn === OPPOSITE[down],
  };
  return turned.transpose || turned.flipX || turned.flipY ? turned : null;
}

// The images that hang in the four places; the first of several that belong into one.
export function hang(items, place) {
  return SLOTS.map((slot) => {
    const found = items.find((item) => {
      const { laterality, view } = place(item);
      return laterality === slot.laterality && rowOf(view) === slot.row;
    });
    return { ...slot, item: found ?? null };
  });
}
