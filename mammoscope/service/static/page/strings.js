// Every sentence and word of the page, so that it can be translated in one place.

const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

export const words = {
  percent,
  // A probability beside its threshold: rounding never puts it on the other side.
  probability: (p, threshold) =>
    percent(p, Math.round(100 * p) === Math.round(100 * threshold) ? 1 : 0),
  title: "Mammoscope",
  nav: { label: "Pages", images: "Images", model: "The model", api: "API" },
  skip: "Skip to the worklist",
  privacy:
    "Images go to this server alone. It predicts, and stores nothing. The page keeps them until it is " +
    "closed.",

  intake: {
    region: "Add images",
    welcome: "See what a network says about mammograms, and where it looks",
    lead: "Drop mammograms here: files, a folder or a zip. JPEG, PNG, TIFF and DICOM.",
    drop: "Drop files, a folder or a zip",
    files: "Choose files",
    folder: "Choose a folder",
    phantom: "Try a phantom",
    phantomHint: "No images at hand? A phantom is a drawn mammogram: four views of one woman.",
    url: "Address of an image",
    urlButton: "Fetch",
    paste: "Or paste an image with Ctrl+V.",
    dropHere: "Drop to add",
    opening: "Opening …",
  },

  zip: {
    damaged: "The zip archive is damaged.",
    large: "The zip archive holds more than 1 GiB. Unpack it and choose a part of it.",
    entries: "The zip archive holds more than 1,000 files. Unpack it and choose a part of it.",
    encrypted: "The zip archive is encrypted. Unpack it first.",
    method: "The zip archive is compressed in a way that browsers cannot undo. Unpack it first.",
  },

  progress: {
    label: "Progress of all images",
    count: (done, all) => `${done} of ${plural(all, "image", "images")}`,
    cancelAll: "Cancel all",
    wait: (seconds) => `The service is busy and asks to wait: ${seconds} s`,
    announce: (done, failed) =>
      `${plural(done, "image is", "images are")} predicted` +
      (failed ? `, ${plural(failed, "has", "have")} an error.` : "."),
  },

  status: {
    waiting: "Waiting",
    sending: "Sending",
    running: "Predicting",
    failed: "Error",
    cancelled: "Cancelled",
  },

  worklist: {
    region: "Worklist",
    empty: "No image matches.",
    filter: "Filter by name",
    show: "Show",
    shows: { all: "all", tumour: "tumour", "no tumour": "no tumour", warnings: "warnings", failed: "errors" },
    sort: "Sort",
    sorts: { added: "as added", probability: "probability", name: "name", view: "view" },
    remove: (name) => `Remove ${name}`,
    cancel: (name) => `Cancel ${name}`,
    retry: (name) => `Try ${name} again`,
    clear: "Remove all",
    unknownView: "view not known",
    warnings: (count) => plural(count, "warning", "warnings"),
    study: (number) => `Study ${number}`,
    noStudy: "Single images",
    images: (count) => plural(count, "image", "images"),
    hang: "Hang",
    report: "Report",
    scoring: "Scoring breast and patient …",
    bar: (p, marks) => `Probability ${percent(p, 1)}; thresholds at ${marks}`,
    breast: { L: "Left breast", R: "Right breast", null: "Breast, side not known" },
    patient: "Patient",
    mixed: "Two patients in one study",
    mixedDetail:
      "These images name different patients. Do not read them together; take one patient's images " +
      "out of the study.",
    tooMany: (most) => `A study is scored with at most ${most} images.`,
    noFiles: "Images given by address are not scored as a study.",
    missing: (views) => `Missing: ${views.join(", ")}`,
  },

  labels: { tumour: "tumour", "no tumour": "no tumour" },
  points: {
    default: "default",
    high_sensitivity: "high sensitivity",
    high_specificity: "high specificity",
  },

  viewer: {
    region: "Viewer",
    empty: "Choose an image in the worklist.",
    loading: "Loading the image …",
    image: (name, place) => `Mammogram ${place}, ${name}. Arrow keys move it, + and - zoom.`,
    noImage: (laterality, row) => `No ${laterality} ${row}`,
    toolbar: "Tools",
    tools: {
      window: "Window",
      pan: "Move",
      zoom: "Zoom",
      magnifier: "Magnifier",
      ruler: "Ruler",
    },
    invert: "Invert",
    fit: "Fit",
    actual: "1:1",
    heat: "Heat map",
    opacity: "Opacity of the heat map",
    network: "Network's view",
    networkCaption: "What the network saw",
    hang: "Hang four",
    single: "One image",
    reset: "Reset",
    help: "Keys",
    less: "less",
    more: "more",
    colourBar: "Colours of the heat map, from the least to the most for this image",
    putRight: { turned: "turned to hang", flipped: "flipped to hang" },
    putRightTitle: "The file stores this image another way round; its tags say how it hangs.",
    spacing: {
      corrected: "",
      detector: " at the detector",
      scanner: " on the film",
      image: " as the file says",
    },
    length: (mm, origin) => `${mm.toFixed(1)} mm${words.viewer.spacing[origin]}`,
    pixels: (count) => `${Math.round(count)} pixels; no pixel spacing is known`,
    windowText: (centre, width) => `W ${percent(width / 65534)} L ${percent(centre / 65535)}`,
    zoomText: (zoom) => `${Math.round(100 * zoom)} %`,
    full: "all pixels",
    failed: "The image cannot be shown.",
  },

  help: {
    title: "Keys and mouse",
    close: "Close",
    mouse: [
      ["Left button", "the chosen tool; at first window: left and right for width, up and down for level"],
      ["Middle button, or Shift and left", "move"],
      ["Right button", "zoom"],
      ["Wheel, or two fingers", "zoom"],
      ["Double click", "one image, or back to all four"],
    ],
    keys: [
      ["W, M, Z, L, R", "window, move, zoom, magnifier (lens), ruler"],
      ["I", "invert"],
      ["H", "heat map on and off"],
      ["[ and ]", "heat map fainter and stronger"],
      ["N", "what the network saw"],
      ["0, 1", "fit, one image pixel for each pixel of the screen"],
      ["+ and -", "zoom"],
      ["Arrow keys", "in the list: next and previous; on an image: move it"],
      ["J and K", "next and previous image"],
      ["G", "hang four, or one image"],
      ["Esc", "reset window, zoom and ruler"],
      ["Delete", "in the list: remove the image"],
      ["?", "this sheet"],
    ],
  },

  verdict: {
    region: "Verdict",
    none: "Choose an image to see its verdict.",
    of: { image: "This image", breast: "This breast", patient: "This patient" },
    probability: "Calibrated probability of a cancer",
    interval: (low, high) => `${percent(low)} to ${percent(high)}`,
    intervalNote:
      "95 % interval of the calibration, which was fitted to few patients. It does not cover what " +
      "is uncertain about this image.",
    from: {
      breast: "From the mean score of the breast's images, calibrated by breast.",
      patient:
        "From the breast with the higher score, calibrated by patient; so the two probabilities differ.",
    },
    calls: (label, threshold) => `Called “${label}”: the threshold is ${percent(threshold, 1)}.`,
    point: "Operating point",
    age: "Age of the woman in years",
    ageUsed: "The age enters the probability of images, not that of breasts and patients.",
    ageNone: "This model makes no use of the age.",
    ageWrong: (low, high) => `Give an age from ${low} to ${high}.`,
    meaning: "What that means",
    units: { image: "images", breast: "breasts", patient: "women" },
    above: (units, count) => `Of 100 ${units} above this threshold, ${count} show a cancer`,
    below: (units, count) => `Of 100 ${units} below it, ${count} show none`,
    aboveHere: "This one is above.",
    belowHere: "This one is below.",
    inData: (prevalence) => `in this model's test data, where ${percent(prevalence)} have one`,
    inScreening: (prevalence) => `where ${percent(prevalence, 1)} have one`,
    prevalence: "Prevalence",
    measured: (sensitivity, specificity, split) =>
      `Sensitivity ${sensitivity} and specificity ${specificity}, measured on ${split} patients.`,
    withInterval: (value) => `${percent(value.value)} (${percent(value.low)} to ${percent(value.high)})`,
    caution:
      "The figures were measured on a set that was enriched with cancers. They do not carry over " +
      "to screening, where women, images and cancers differ.",
    unmeasured: "Nothing was measured at this operating point.",
    warnings: "Warnings",
    model: (version) => `Model ${version}`,
    place: "Where it belongs",
    laterality: "Breast",
    lateralities: { "": "not known", L: "left", R: "right" },
    view: "View",
    unknown: "not known",
    study: "Study",
    newStudy: "a new study",
    alone: "none",
  },

  out: {
    title: "Take along",
    csv: "CSV",
    json: "JSON",
    png: "PNG with heat map",
    print: "Print the report",
    copy: "Copy this request for",
    curl: "curl",
    python: "Python",
    javascript: "JavaScript",
    copied: "Copied.",
    notCopied: "The browser does not let the page copy. Select the text instead.",
    request: "The request of this image",
    list: "The whole list:",
  },

  report: {
    title: "Report",
    made: (when) => `Made on ${when}`,
    images: "Images",
    columns: ["Image", "View", "Probability", "Label", "Warnings"],
    point: (point) => `Operating point: ${point}.`,
  },

  key: {
    title: "This service asks for an API key",
    explain: "The page keeps the key in memory until it is closed, and sends it to this service alone.",
    label: "API key",
    wrong: "The service did not accept this key.",
    submit: "Use the key",
  },

  errors: {
    network: "The service did not answer. Check the connection and try again.",
    cancelled: "Cancelled.",
    large: (most) => `The file is larger than ${Math.round(most / 2 ** 20)} MiB, which is the most allowed.`,
    model: "The model cannot be asked for:",
    loadingModel: "The model is being loaded …",
    url: "Give an address that begins with http:// or https://.",
  },

  card: {
    loading: "Loading the model card …",
    title: "The model",
    lead: (version, name) => `${name ? `${name}, ` : ""}version ${version}.`,
    limits: "Limits",
    intended: "Intended use",
    results: "Results on test patients",
    resultsBoth: "Results",
    measured: (test) =>
      `Measured on ${test.images} images of ${test.patients} test patients, ${test.positives} images with a cancer. ` +
      "None of these patients had a part in training. Brackets hold 95 % intervals.",
    auc: "How well scores separate images with and without a cancer",
    aucExplain:
      "The area under the ROC curve (AUC) is the chance that an image with a cancer scores higher " +
      "than one without. A coin gives 0.5, perfection 1.",
    level: { image: "by image", breast: "by breast", patient: "by patient", age: "by image, with the age" },
    roc: "Sensitivity and specificity at the operating points",
    rocExplain:
      "Each point is a threshold, with its 95 % intervals. The diagonal is chance; the upper left " +
      "corner is perfection.",
    rocCurve: "ROC curve",
    rocCurveExplain: "Sensitivity against false positives at all thresholds, with the 95 % band.",
    pair: (sensitivity, specificity) => `sensitivity ${sensitivity}, specificity ${specificity}`,
    validationAuc: (auc) => `AUC on validation patients ${auc}`,
    validation: (validation) =>
      `Curves, bands and binned points are of the ${validation.images} images of ` +
      `${validation.patients} validation patients. The model was chosen and its ` +
      "probabilities were fitted on them, so the model looks better here than on other patients.",
    foldsAuc: (auc) => `AUC out of fold ${auc}`,
    folds: (validation) =>
      `Curves, bands and binned points are of ${validation.images} images of ${validation.patients} ` +
      "patients, out of fold: each image was scored by a network trained without this patient. " +
      "The network of this page learned from all of them.",
    testDots: "Operating points and the calibration line are of the test patients.",
    reliability: "Are the probabilities right?",
    reliabilityBins: "Each point is a tenth of the images, with its 95 % interval.",
    reliabilityExplain:
      "The line is what is observed where the model says a probability, from the calibration slope " +
      "and intercept on test patients. On the diagonal both agree.",
    slopeAndIntercept: (slope, intercept) => `Calibration slope ${slope}, intercept ${intercept}`,
    bin: ({ images, positives }, predicted, observed) =>
      `of ${images} images at about ${predicted}, ${positives} show a cancer: ${observed}`,
    decision: "Does it help to decide?",
    decisionExplain:
      "Net benefit at the thresholds: true positives per image, less false positives weighed by " +
      "the odds of the threshold. Above both lines the model helps; the lines are to recall all " +
      "women, and none.",
    decisionCurveExplain:
      "Net benefit of recalling above a threshold, with its 95 % band: true positives per image, " +
      "less false positives weighed by the odds of the threshold. Where the curve is above both " +
      "dashed lines, the model helps; they are to recall all women, and none.",
    benefitAt: (point, benefit, all, threshold) =>
      `${point}: net benefit ${benefit.toFixed(3)} at ${threshold.toFixed(2)}, of recalling all ${all.toFixed(3)}`,
    subgroups: "Subgroups",
    subgroupsExplain: "AUC by image within each group. Groups with few cancers have wide intervals.",
    groupColumns: ["Group", "Images", "With cancer", "AUC"],
    pointColumns: ["Operating point", "Threshold", "Sensitivity", "Specificity", "PPV, NPV at 2 %"],
    axes: {
      falsely: "1 - specificity",
      sensitivity: "Sensitivity",
      said: "Probability said",
      observed: "Observed share",
      threshold: "Threshold",
      benefit: "Net benefit",
      auc: "AUC",
    },
    all: "all",
    none: "none",
    more: "More about this model",
    json: "The same as JSON",
    unmeasured: "This model's card holds no measured results.",
  },
};
