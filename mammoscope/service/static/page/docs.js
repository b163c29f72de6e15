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
