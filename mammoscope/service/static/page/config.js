// What the server tells the page: paths, limits and words of the API.
const root = document.getElementById("app");
const given = JSON.parse(root.dataset.config);

export const config = Object.freeze({
  ...given,
  // The page may be served below a prefix; every address is made from it.
  base: given.base,
  suffixes: given.suffixes.map((suffix) => suffix.toLowerCase()),
});

export function address(path) {
  return `${config.base}${path}`;
}

export function absolute(path) {
  return new URL(address(path), location.href).href;
}
