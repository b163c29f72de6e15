// Numbers of the verdict. All shares are in [0, 1].

const log = (p) => Math.log(p / (1 - p));
const share = (x) => 1 / (1 + Math.exp(-x));

// The women's age enters as in the model card: decades from 60.
const MIDDLE_AGE = 60;
const DECADE = 10;
// Half of a 95 % interval, in standard errors.
const Z95 = 1.959964;

export function probability(model, logit, age, level = "image") {
  if (level !== "image") {
    const scale = model.levels?.[level]?.calibration ?? model.calibration;
    return share(scale.slope * logit + scale.intercept);
  }
  const aged = model.age_calibration;
  if (age !== null && aged) {
    return share(
      aged.slope * logit + aged.intercept + (aged.per_decade * (age - MIDDLE_AGE)) / DECADE,
    );
  }
  return share(model.calibration.slope * logit + model.calibration.intercept);
}

export function ageEnters(model, age, level = "image") {
  return level === "image" && age !== null && Boolean(model.age_calibration);
}

// How far the calibration itself could be off: its slope and intercept were fitted to few patients.
// Their 95 % intervals are taken as independent; what is uncertain about the image is not in it.
export function interval(model, p, aged, level = "image") {
  const measured = part(model.metrics?.validation, level, aged);
  const slope = measured?.calibration_slope;
  const intercept = measured?.calibration_intercept;
  if (!slope || !intercept) return null;
  const error = (each) => (each.high - each.low) / (2 * Z95);
  const x = log(Math.min(Math.max(p, 1e-6), 1 - 1e-6));
  const half = Z95 * Math.hypot(error(intercept), x * error(slope));
  return [share(x - half), share(x + half)];
}

function part(metrics, level, aged) {
  if (!metrics) return null;
  if (level !== "image") return metrics[level] ?? null;
  return aged ? (metrics.with_age ?? metrics) : metrics;
}

// Sensitivity and specificity at an operating point: on test patients where they were measured.
export function measuredAt(model, point, level = "image", aged = false) {
  for (const split of ["test", "validation"]) {
    const found = part(model.metrics?.[split], level, aged)?.operating_points?.[point];
    if (found) return { ...found, split };
  }
  const points = model.levels?.[level]?.operating_points ?? model.operating_points;
  const found = points?.[point]?.measured;
  return found?.sensitivity ? { ...found, split: "validation" } : null;
}

export function threshold(model, point, level = "image") {
  const points = model.levels?.[level]?.operating_points ?? {};
  return (points[point] ?? model.operating_points[point]).threshold;
}

// Share of the images, breasts or patients with a cancer among those measured.
export function dataPrevalence(model, level = "image") {
  const test = model.metrics?.test ?? model.metrics?.validation;
  if (!test) return null;
  const measured = part(test, level, false);
  // By breast and patient, the share that always answering "no tumour" gets wrong.
  const rate = level === "image" ? test.positives / test.images : 1 - measured?.majority?.value;
  return Number.isFinite(rate) ? rate : null;
}

// Bayes' rule.
export function predictiveValues(sensitivity, specificity, prevalence) {
  const above = sensitivity * prevalence;
  const falsely = (1 - specificity) * (1 - prevalence);
  const below = specificity * (1 - prevalence);
  const missed = (1 - sensitivity) * prevalence;
  return {
    ppv: above + falsely > 0 ? above / (above + falsely) : 0,
    npv: below + missed > 0 ? below / (below + missed) : 0,
    called: above + falsely,
  };
}
