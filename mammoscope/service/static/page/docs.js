// The API's reference: RapiDoc with this service's description, in the reader's colours.
const reference = document.getElementById("reference");
const dark = matchMedia("(prefers-color-scheme: dark)");

function colour() {
  reference.setAttribute("theme", dark.matches ? "dark" : "light");
  reference.setAttribute("bg-color", dark.matches ? "#14171c" : "#ffffff");
  reference.setAttribute("text-color", dark.matches ? "#e8eaee" : "#1b1f27");
  reference.setAttribute("primary-color", dark.matches ? "#7cb5f8" : "#1857a4");
}

dark.addEventListener("change", colour);
colour();
// Requests go to where this page comes from, with the prefix that it is served below.
reference.setAttribute("server-url", `${location.origin}${reference.dataset.prefix}`);
reference.setAttribute("default-api-server", `${location.origin}${reference.dataset.prefix}`);
reference.setAttribute("spec-url", reference.dataset.description);

// RapiDoc gives its fields no names that can be read aloud, and colours code too faintly. Both stand
// in shadow trees of their own.
const plain = new CSSStyleSheet();
plain.replaceSync(".token { color: inherit !important; }");
const watched = new WeakSet();

function nameFields(tree) {
  if (!watched.has(tree)) {
    watched.add(tree);
    tree.adoptedStyleSheets = [...tree.adoptedStyleSheets, plain];
    new MutationObserver(() => nameFields(tree)).observe(tree, { subtree: true, childList: true });
  }
  for (const element of tree.querySelectorAll("*")) {
    if (element.shadowRoot) nameFields(element.shadowRoot);
    if (!element.matches("input, select, textarea") || element.hasAttribute("aria-label")) continue;
    const { pname, ptype } = element.dataset;
    element.setAttribute("aria-label", pname || element.placeholder || ptype || "Choice");
  }
}

await customElements.whenDefined("rapi-doc");
nameFields(reference.shadowRoot);
