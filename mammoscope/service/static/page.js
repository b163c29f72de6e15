"use strict";

const answer = document.getElementById("answer");

function line(tag, text, className) {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

function percent(fraction) {
  return `${(100 * fraction).toFixed(1)} %`;
}

function showPrediction(prediction) {
  const meter = document.createElement("meter");
  meter.value = prediction.probability;
  meter.setAttribute("aria-label", "Probability of a tumour");
  answer.replaceChildren(
    line("p", prediction.label, "label"),
    meter,
    line("p", `Probability of a tumour ${percent(prediction.probability)}; ` +
      `called a tumour from ${percent(prediction.threshold)} on.` +
      (prediction.age_used ? " The woman\u2019s age entered." : "")),
  );
  if (prediction.warnings.length) {
    const list = document.createElement("ul");
    list.append(...prediction.warnings.map((warning) => line("li", warning)));
    answer.append(line("h2", "Warnings"), list);
  }
  answer.append(line("p", prediction.notice), line("p", `Model ${prediction.model_version}`));
}

function showRefusal(detail) {
  answer.replaceChildren(line("p", detail, "refused"));
}

async function classify(form, request) {
  const button = form.querySelector("button");
  button.disabled = true;
  answer.replaceChildren(line("p", "Classifying …"));
  try {
    const response = await fetch(form.action, { method: "POST", ...request });
    const content = await response.json();
    if (response.ok) showPrediction(content);
    else showRefusal(content.detail);
  } catch {
    showRefusal("The service did not answer. Please try again.");
  } finally {
    button.disabled = false;
    answer.focus();
  }
}

document.getElementById("file-form").addEventListener("submit", (event) => {
  event.preventDefault();
  classify(event.target, { body: new FormData(event.target) });
});

const urlForm = document.getElementById("url-form");
if (urlForm) {
  urlForm.hidden = false; // an address is sent as JSON, which a form alone cannot
  urlForm.addEventListener("submit", (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(event.target));
    if (!given.age) delete given.age;
    classify(event.target, {
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(given),
    });
  });
}
