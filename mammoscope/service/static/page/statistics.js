// Numbers of the verdict. All shares are in [0, 1].

const log = (p) => Math.log(p / (1 - p));
const share = (x) => 1 / (1 + Math.exp(-x));

// The women's age enters as in the model card: decades from 60.
const MIDDLE_AGE = 60;
const DECADE = 10;
// Half of a 95 % interval, in standard errors.
const Z95 = 1.959964;

const decades = (age) => (age - MIDDLE_AGE) / DECADE;

function scaleOf(model, level) {
  return (level !== "image" && model.levels?.[level]?.calibration) || model.calibration;
}

export function probability(model, logit, age, level = "image") {
  if (ageEnters(model, age, level)) {
    const aged = model.age_calibration;
    return share(aged.slope * logit + aged.intercept + aged.per_decade * decades(age));
  }
  const scale = scaleOf(model, level);
  return share(scale.slope * logit + scale.intercept);
}

export function ageEnters(model, age, level = "image") {
  return level === "image" && age !== null && Boolean(model.age_calibration);
}

// How far the calibration itself could be off, since it was fitted to few patients: the 95 %
// interval of p by the delta method, from the covariance of the fit. What is uncertain about the
// image is not in it. null if the card does not say.
export function interval(model, p, age = null, level = "image") {
  const aged = ageEnters(model, age, level);
  const measured = part(model.metrics?.validation, level, aged);
  const odds = log(Math.min(Math.max(p, 1e-6), 1 - 1e-6));
  const covariance = measured?.calibration_covariance;
  let error = null;
  if (covariance) {
    const scale = aged ? model.age_calibration : scaleOf(model, level);
    const late = aged ? decades(age) : 0;
    const logit = (odds - scale.intercept - (aged ? scale.per_decade * late : 0)) / scale.slope;
    error = deviation(covariance, [logit, 1, late]);
  } else error = independentError(measured, odds);
  if (error === null) return null;
  return [share(odds - Z95 * error), share(odds + Z95 * error)];
}

// Of the sum of coefficients with this covariance, each times its factor.
function deviation(covariance, factors) {
  let variance = 0;
  covariance.forEach((row, i) => row.forEach((each, j) => {
    variance += factors[i] * each * factors[j];
  }));
  return Math.sqrt(Math.max(variance, 0));
}

// Cards without a covariance: intervals of slope and intercept, taken as independent.
function independentError(measured, odds) {
  const slope = measured?.calibration_slope;
  const intercept = measured?.calibration_intercept;
  if (!slope || !intercept) return null;
  const error = (each) => (each.high - each.low) / (2 * Z95);
  return Math.hypot(error(intercept), odds * error(slope));
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
