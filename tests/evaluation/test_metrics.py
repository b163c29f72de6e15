"""Measures against scikit-learn, brute force and their own invariants."""

import itertools
import json
import math
import time

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from mammoscope.errors import SingleClassError
from mammoscope.evaluation.metrics.assessment import evaluate_scores
from mammoscope.evaluation.metrics.calibration_fit import fit_platt, fit_platt_with_age
from mammoscope.evaluation.metrics.intervals import Interval, bootstrap, draw_weights
from mammoscope.evaluation.metrics.measures import Curve, Measures, equal_mass_bins
from mammoscope.evaluation.metrics.operating import measure_points, operating_points
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.model.calibration import Calibration, sigmoid


def simulate(count=400, patients=120, effect=1.0, seed=0, slope=1.0):
    """Clustered scores whose true log-odds are known: logit = log-odds / slope."""
    rng = np.random.default_rng(seed)
    patient = rng.integers(0, patients, count)
    log_odds = rng.normal(0, effect, patients)[patient] + rng.normal(-0.7, effect, count)
    labels = (rng.random(count) < sigmoid(log_odds)).astype(int)
    breasts = [f"{p}-{s}" for p, s in zip(patient, rng.integers(0, 2, count), strict=True)]
    return Scored.of(labels, log_odds / slope, patients=list(patient), breasts=breasts)


def measure(scored, **options):
    values = Measures(scored, **options)(np.ones((1, scored.labels.size)))
    return {name: float(value[0]) for name, value in values.items()}


@st.composite
def labelled_scores(draw, *, max_size=40):
    """Few distinct scores, so that ties are common, and both classes."""
    count = draw(st.integers(2, max_size))
    labels = draw(hnp.arrays(np.int64, count, elements=st.integers(0, 1)))
    assume(0 < labels.sum() < count)
    scores = draw(hnp.arrays(np.int64, count, elements=st.integers(-6, 6))) / 2.0
    return scores, labels


@st.composite
def weighted(draw):
    scores, labels = draw(labelled_scores())
    weights = draw(hnp.arrays(np.int64, labels.size, elements=st.integers(0, 3)))
    assume(weights[labels == 1].sum() > 0)
    assume(weights[labels == 0].sum() > 0)
    return scores, labels, weights.astype(float)


class TestAgainstScikitLearn:
    @settings(deadline=None)
    @given(labelled_scores())
    def test_all_measures(self, data):
        scores, labels = data
        found = measure(Scored.of(labels, scores))
        probabilities = 1 / (1 + np.exp(-scores))
        answers = probabilities >= 0.5
        expected = {
            "auc": reference.roc_auc_score(labels, scores),
            "auprc": reference.average_precision_score(labels, scores),
            "accuracy": reference.accuracy_score(labels, answers),
            "balanced_accuracy": reference.balanced_accuracy_score(labels, answers),
            "brier": reference.brier_score_loss(labels, probabilities),
            "log_loss": reference.log_loss(labels, probabilities),
            "majority": max(labels.mean(), 1 - labels.mean()),
        }
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, abs=1e-9), name

    @settings(deadline=None)
    @given(labelled_scores())
    def test_points_of_the_curve(self, data):
        scores, labels = data
        false_rate, true_rate, _ = reference.roc_curve(labels, scores, drop_intermediate=False)
        found = measure(Scored.of(labels, scores))
        for wanted in (90, 95):
            best = true_rate[false_rate <= 1 - wanted / 100 + 1e-9].max()
            assert found[f"sensitivity_at_specificity_{wanted}"] == pytest.approx(best)
        best = 1 - false_rate[true_rate >= 0.9 - 1e-9].min()
        assert found["specificity_at_sensitivity_90"] == pytest.approx(best)
        ours = Curve(scores, labels).rates(np.ones((1, labels.size)))
        np.testing.assert_allclose(ours[0][0], false_rate)
        np.testing.assert_allclose(ours[1][0], true_rate)

    @settings(deadline=None)
    @given(weighted())
    def test_weights(self, data):
        scores, labels, weights = data
        values = Measures(Scored.of(labels, scores))(weights[None])
        probabilities = 1 / (1 + np.exp(-scores))
        answers = probabilities >= 0.5
        expected = {
            "auc": reference.roc_auc_score(labels, scores, sample_weight=weights),
            "auprc": reference.average_precision_score(labels, scores, sample_weight=weights),
            "accuracy": reference.accuracy_score(labels, answers, sample_weight=weights),
            "brier": reference.brier_score_loss(labels, probabilities, sample_weight=weights),
            "log_loss": reference.log_loss(labels, probabilities, sample_weight=weights),
        }
        for name, value in expected.items():
            assert values[name][0] == pytest.approx(value, abs=1e-9), name

    @settings(deadline=None)
    @given(weighted())
    def test_an_integer_weight_equals_repetition(self, data):
        """Resampling relies on this: weight k equals k copies of the image."""
        scores, labels, weights = data
        times = weights.astype(int)
        by_weight = Measures(Scored.of(labels, scores))(weights[None])
        repeated = measure(Scored.of(np.repeat(labels, times), np.repeat(scores, times)))
        exact = set(repeated) - {"ece", "calibration_slope", "calibration_intercept"}
        for name in exact:
            assert by_weight[name][0] == pytest.approx(repeated[name], abs=1e-9), name

    @pytest.mark.parametrize("slope", [0.5, 1.0, 3.0])
    def test_calibration_slope_and_intercept(self, slope):
        scored = simulate(seed=3, slope=slope)
        model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
        model.fit(scored.logits[:, None], scored.labels)
        found = measure(scored)
        assert found["calibration_slope"] == pytest.approx(model.coef_[0, 0], abs=1e-5)
        shifted = sigmoid(scored.logits + found["calibration_intercept"])
        assert shifted.mean() == pytest.approx(scored.labels.mean(), abs=1e-9)

    def test_calibration_error_with_equally_filled_bins(self):
        scored = simulate(count=1000, seed=5)
        share, mean = calibration_curve(
            scored.labels, scored.probabilities, n_bins=10, strategy="quantile"
        )
        expected = np.abs(share - mean).mean()  # bins of 100 each
        assert measure(scored)["ece"] == pytest.approx(expected, abs=2e-3)

    def test_one_step_resamples_agree_with_full_fits(self):
        scored = simulate(count=600, patients=300, seed=6, slope=2.0)
        weights = np.concatenate(list(draw_weights(scored.labels, scored.patients, 40, 1)))
        quick = Measures(scored)(weights)["calibration_slope"]
        model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
        full = [
            model.fit(scored.logits[:, None], scored.labels, sample_weight=w).coef_[0, 0]
            for w in weights
        ]
        assert np.std(full) > 0.1
        assert np.corrcoef(quick, full)[0, 1] > 0.99
        np.testing.assert_allclose(quick, full, atol=0.75 * np.std(full))
        assert np.std(quick) == pytest.approx(np.std(full), rel=0.1)


class TestArea:
    @settings(deadline=None)
    @given(labelled_scores(max_size=14))
    def test_area_is_the_share_of_ordered_pairs(self, data):
        scores, labels = data
        pairs = [
            1.0 if one > zero else 0.5 if one == zero else 0.0
            for one, zero in itertools.product(scores[labels == 1], scores[labels == 0])
        ]
        assert measure(Scored.of(labels, scores))["auc"] == pytest.approx(np.mean(pairs))

    @settings(deadline=None)
    @given(labelled_scores())
    def test_ignores_monotone_maps(self, data):
        scores, labels = data
        area = measure(Scored.of(labels, scores))["auc"]
        for transformed in (scores * 3 - 7, np.exp(scores), scores**3):
            assert measure(Scored.of(labels, transformed))["auc"] == area

    @settings(deadline=None)
    @given(labelled_scores())
    def test_flipping_labels_or_scores_mirrors_the_area(self, data):
        scores, labels = data
        area = measure(Scored.of(labels, scores))["auc"]
        assert measure(Scored.of(1 - labels, scores))["auc"] == pytest.approx(1 - area)
        assert measure(Scored.of(labels, -scores))["auc"] == pytest.approx(1 - area)

    @settings(deadline=None)
    @given(labelled_scores(), st.randoms(use_true_random=False))
    def test_ignores_order_of_images(self, data, random):
        scores, labels = data
        order = list(range(labels.size))
        random.shuffle(order)
        assert measure(Scored.of(labels[order], scores[order]))["auc"] == pytest.approx(
            measure(Scored.of(labels, scores))["auc"]
        )

    def test_is_undefined_without_a_class(self):
        curve = Curve(np.array([0.0, 1.0]), np.array([0, 1]))
        assert math.isnan(curve.auc(np.array([[1.0, 0.0]]))[0])

    def test_saturated_probabilities_keep_their_order(self):
        scored = Scored.of([0, 1, 0, 1], [800.0, 900.0, 700.0, 1000.0])
        found = measure(scored)
        assert found["auc"] == 1.0
        assert found["log_loss"] == pytest.approx(375.0)


class TestPlatt:
    @pytest.mark.parametrize("slope", [0.2, 1.0, 20.0])
    def test_recovers_a_known_map(self, slope):
        scored = simulate(count=20_000, patients=20_000, seed=1, slope=slope)
        fitted = fit_platt(scored.logits, scored.labels)
        assert fitted.slope == pytest.approx(slope, rel=0.05)
        assert fitted.intercept == pytest.approx(0.0, abs=0.05)

    def test_agrees_with_scikit_learn_on_smoothed_targets(self):
        scored = simulate(count=60, seed=2)
        ones = scored.labels.sum()
        zeros = scored.labels.size - ones
        target = np.where(scored.labels == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))
        model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000)
        model.fit(
            np.tile(scored.logits, 2)[:, None],
            np.repeat([1, 0], scored.labels.size),
            sample_weight=np.concatenate([target, 1 - target]),
        )
        fitted = fit_platt(scored.logits, scored.labels)
        assert fitted.slope == pytest.approx(model.coef_[0, 0], rel=1e-4)
        assert fitted.intercept == pytest.approx(model.intercept_[0], abs=1e-4)

    @settings(deadline=None)
    @given(labelled_scores())
    def test_is_monotone_and_not_worse_than_the_raw_sigmoid(self, data):
        scores, labels = data
        fitted = fit_platt(scores, labels)
        assert fitted.slope > 0
        ones = labels.sum()
        target = np.where(labels == 1, (ones + 1) / (ones + 2), 1 / (labels.size - ones + 2))

        def loss(calibration):
            odds = calibration.log_odds(scores)
            return np.mean(np.logaddexp(0, odds) - target * odds)

        assert loss(fitted) <= loss(Calibration()) + 1e-9

    @settings(deadline=None)
    @given(
        hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(-1e6, 1e6)),
        st.data(),
    )
    def test_any_finite_logits_can_be_fitted(self, logits, data):
        labels = data.draw(hnp.arrays(np.int64, logits.size, elements=st.integers(0, 1)))
        fitted = fit_platt(logits, labels)
        probabilities = fitted.probabilities(logits)
        assert ((probabilities >= 0) & (probabilities <= 1)).all()
        order = np.argsort(logits)
        assert (np.diff(probabilities[order]) >= 0).all()

    @pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
    def test_separated_classes_stay_finite(self, scale):
        fitted = fit_platt(np.array([-2, -1, 1, 2.0]) * scale, [0, 0, 1, 1])
        assert fitted.probabilities([2.0 * scale])[0] < 0.999

    def test_reversed_scores_are_flattened_not_reversed(self):
        fitted = fit_platt([0, 1, 2, 3.0], [1, 1, 0, 0])
        assert 0 < fitted.slope < 0.01
        assert fitted.probabilities([0.0, 3.0]) == pytest.approx([0.5, 0.5], abs=0.01)

    @pytest.mark.parametrize(
        ("logits", "labels", "expected"),
        [([5.0, 5.0, 5.0], [1, 0, 0], (2 / 3 + 1 / 4 + 1 / 4) / 3), ([1.0], [1], 2 / 3)],
    )
    def test_without_evidence_the_slope_is_one(self, logits, labels, expected):
        fitted = fit_platt(logits, labels)
        assert fitted.slope == 1.0
        assert fitted.probabilities(logits).mean() == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize(
        ("logits", "labels"),
        [([], []), ([1.0], [0, 1]), ([float("nan")], [1]), ([1.0], [2]), ([[1.0]], [[1]])],
    )
    def test_invalid_data_are_refused(self, logits, labels):
        with pytest.raises(ValueError, match="must be"):
            fit_platt(logits, labels)

    @pytest.mark.parametrize("slope", [0.0, -1.0, float("nan"), float("inf")])
    def test_a_calibration_is_monotone_by_construction(self, slope):
        with pytest.raises(ValueError, match="slope"):
            Calibration(slope=slope)


class TestPlattWithAge:
    def test_recovers_a_known_map(self):
        rng = np.random.default_rng(3)
        logits, ages = rng.normal(size=40_000), rng.uniform(40, 80, 40_000)
        log_odds = 1.5 * logits + 0.4 * (ages - 60) / 10 - 0.7
        labels = (rng.random(40_000) < 1 / (1 + np.exp(-log_odds))).astype(int)
        fitted = fit_platt_with_age(logits, ages, labels)
        assert fitted.slope == pytest.approx(1.5, rel=0.05)
        assert fitted.per_decade == pytest.approx(0.4, abs=0.03)
        assert fitted.intercept == pytest.approx(-0.7, abs=0.05)
        assert np.corrcoef(fitted.log_odds(logits, ages), log_odds)[0, 1] > 0.999

    @pytest.mark.parametrize(
        ("logits", "ages", "labels"),
        [
            ([0.0, 1.0], [50, 60], [1, 1]),  # one class
            ([1.0, 1.0], [50, 60], [0, 1]),  # logits alike
            ([0.0, 1.0], [50, 50], [0, 1]),  # ages alike
            ([1.0, 0.0, 1.0, 0.0], [50, 60, 60, 50], [0, 1, 0, 1]),  # logit the wrong way round
        ],
    )
    def test_uninformative_data_give_no_fit(self, logits, ages, labels):
        assert fit_platt_with_age(logits, ages, labels) is None

    def test_inconsistent_data_are_refused(self):
        with pytest.raises(ValueError, match="ages"):
            fit_platt_with_age([0.0, 1.0], [50], [0, 1])
        with pytest.raises(ValueError, match="ages"):
            fit_platt_with_age([0.0, 1.0], [50, np.nan], [0, 1])


class TestIntervals:
    def test_patients_are_resampled_with_all_their_images(self):
        labels = np.array([0, 0, 1, 1, 0, 1])
        patients = np.array([0, 0, 1, 1, 2, 2])
        weights = np.concatenate(list(draw_weights(labels, patients, 500, 0)))
        assert weights.shape == (500, 6)
        for patient in range(3):
            first, second = weights[:, patients == patient].T
            np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(weights[:, [0, 2, 4]].sum(axis=1), 3)
        ones = weights @ labels
        assert ((ones > 0) & (ones < weights.sum(axis=1))).all()

    def test_agrees_with_a_plain_loop(self):
        scored = simulate(count=150, patients=50, seed=4)
        fast = bootstrap(Measures(scored), scored.labels, scored.patients, resamples=1500, seed=0)[
            "auc"
        ]
        rng = np.random.default_rng(99)
        areas = []
        for _ in range(1500):
            drawn = rng.integers(0, scored.patients.max() + 1, scored.patients.max() + 1)
            where = np.concatenate([np.flatnonzero(scored.patients == p) for p in drawn])
            areas.append(reference.roc_auc_score(scored.labels[where], scored.logits[where]))
        low, high = np.quantile(areas, [0.025, 0.975])
        assert fast.low == pytest.approx(low, abs=0.01)
        assert fast.high == pytest.approx(high, abs=0.01)

    def test_copies_of_an_image_do_not_narrow_the_interval(self):
        """Four copies of each image of the same patient add no information."""
        single = simulate(count=100, patients=100, seed=8)
        copied = Scored.of(
            np.repeat(single.labels, 4),
            np.repeat(single.logits, 4),
            patients=list(np.repeat(single.patients, 4)),
        )
        first, second = (
            bootstrap(Measures(each), each.labels, each.patients, resamples=400)
            for each in (single, copied)
        )
        assert second["auc"].low == pytest.approx(first["auc"].low)
        assert second["auc"].high == pytest.approx(first["auc"].high)

    def test_intervals_have_their_nominal_coverage(self):
        truth = measure(simulate(count=200_000, patients=60_000, seed=1))["auc"]
        hits = 0
        for seed in range(120):
            scored = simulate(count=200, patients=60, seed=1000 + seed)
            curve = Curve(scored.logits, scored.labels)
            found = bootstrap(
                lambda weights, area=curve.auc: {"auc": area(weights)},
                scored.labels,
                scored.patients,
                resamples=300,
            )["auc"]
            hits += found.low <= truth <= found.high
        assert hits / 120 > 0.88

    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 10_000), st.integers(20, 80))
    def test_intervals_contain_the_value_and_stay_in_range(self, seed, count):
        scored = simulate(count=count, patients=count // 2, seed=seed)
        assume(0 < scored.labels.sum() < count)
        found = bootstrap(Measures(scored), scored.labels, scored.patients, resamples=100)
        for name, interval in found.items():
            if np.isfinite(interval.low):
                assert interval.low <= interval.value <= interval.high, name
            if not name.startswith(("calibration", "log_loss")):
                assert 0 <= interval.low <= interval.high <= 1 + 1e-12, name

    def test_same_seed_same_interval(self):
        scored = simulate()
        results = [
            bootstrap(Measures(scored), scored.labels, scored.patients, resamples=50, seed=seed)[
                "auc"
            ]
            for seed in (1, 1, 2)
        ]
        assert results[0] == results[1]
        assert results[0] != results[2]

    def test_one_patient_has_no_interval(self):
        scored = Scored.of([0, 1], [0.0, 1.0], patients=["a", "a"])
        found = bootstrap(Measures(scored), scored.labels, scored.patients)["auc"]
        assert found.value == 1.0
        assert found.to_json() == {"value": 1.0, "low": None, "high": None}

    def test_intervals_do_not_depend_on_the_chunk_size(self, monkeypatch):
        scored = simulate()
        whole = np.concatenate(list(draw_weights(scored.labels, scored.patients, 20, 0)))
        monkeypatch.setattr("mammoscope.evaluation.metrics.intervals._CHUNK_NUMBERS", 3 * 400)
        parts = list(draw_weights(scored.labels, scored.patients, 20, 0))
        assert len(parts) == 7
        np.testing.assert_array_equal(np.concatenate(parts), whole)


class TestLevels:
    def test_breast_is_the_mean_and_patient_the_maximum(self):
        scored = Scored.of(
            [0, 0, 1, 1, 0],
            [-1.0, 0.0, 2.0, 1.0, -3.0],
            patients=["p", "p", "p", "p", "q"],
            breasts=["pL", "pL", "pR", "pR", "qL"],
            calibration=Calibration(slope=2.0, intercept=-1.0),
        )
        breasts = scored.by_breast()
        np.testing.assert_array_equal(breasts.labels, [0, 1, 0])
        np.testing.assert_allclose(breasts.logits, [-0.5, 1.5, -3.0])
        np.testing.assert_array_equal(breasts.patients, [0, 0, 1])
        np.testing.assert_allclose(breasts.probabilities, sigmoid(np.array([-2.0, 2.0, -7.0])))
        patients = scored.by_patient()
        np.testing.assert_array_equal(patients.labels, [1, 0])
        np.testing.assert_allclose(patients.logits, [1.5, -3.0])

    def test_without_ids_each_image_is_a_patient(self):
        scored = Scored.of([0, 1, 1], [0.0, 1.0, 2.0])
        for level in (scored.by_breast(), scored.by_patient()):
            np.testing.assert_array_equal(level.logits, scored.logits)

    @settings(deadline=None)
    @given(st.integers(0, 1000))
    def test_levels_agree_with_a_plain_loop(self, seed):
        scored = simulate(count=30, patients=8, seed=seed)
        per_patient = {}
        for breast in set(scored.breasts):
            where = scored.breasts == breast
            patient = scored.patients[where][0]
            per_patient.setdefault(patient, []).append(scored.logits[where].mean())
        expected = sorted(max(values) for values in per_patient.values())
        np.testing.assert_allclose(np.sort(scored.by_patient().logits), expected)

    @pytest.mark.parametrize(
        ("labels", "logits", "patients"),
        [([0, 1], [0.0], None), ([0, 2], [0.0, 1.0], None), ([0, 1], [0.0, 1.0], ["a"])],
    )
    def test_lists_of_different_lengths_are_refused(self, labels, logits, patients):
        with pytest.raises(ValueError, match="labels"):
            Scored.of(labels, logits, patients=patients)


class TestBins:
    @settings(deadline=None)
    @given(hnp.arrays(np.float64, st.integers(1, 200), elements=st.floats(0, 1)))
    def test_bins_are_ordered_and_keep_ties_together(self, probabilities):
        bins = equal_mass_bins(probabilities)
        order = np.argsort(probabilities, kind="stable")
        assert (np.diff(bins[order]) >= 0).all()
        assert ((bins >= 0) & (bins < 10)).all()
        for value in np.unique(probabilities):
            assert np.unique(bins[probabilities == value]).size == 1

    def test_bins_have_equal_shares(self):
        bins = equal_mass_bins(np.random.default_rng(0).random(1000))
        np.testing.assert_allclose(np.bincount(bins), 100, atol=1)

    def test_calibration_error_of_a_constant_is_its_distance_from_the_mean(self):
        assert measure(Scored.of([0, 0, 0, 1], [0.0] * 4))["ece"] == pytest.approx(0.25)


class TestOperatingPoints:
    @settings(deadline=None)
    @given(labelled_scores())
    def test_points_reach_their_target_on_their_own_data(self, data):
        scores, labels = data
        probabilities = 1 / (1 + np.exp(-scores))
        points = operating_points(probabilities, labels, resamples=20)
        assert points["high_specificity"].specificity.value >= 0.9
        assert points["high_sensitivity"].sensitivity.value >= 0.9
        false_rate, true_rate, _ = reference.roc_curve(labels, scores, drop_intermediate=False)
        assert points["high_specificity"].sensitivity.value == pytest.approx(
            true_rate[false_rate <= 0.1 + 1e-9].max()
        )
        assert points["high_sensitivity"].specificity.value == pytest.approx(
            1 - false_rate[true_rate >= 0.9 - 1e-9].min()
        )
        for point in points.values():
            assert 0 < point.threshold < 1

    def test_thresholds_lie_between_scores(self):
        probabilities = np.linspace(0.05, 0.95, 20)
        labels = np.array([0, 1] * 10)
        for point in operating_points(probabilities, labels, resamples=20).values():
            assert np.abs(probabilities - point.threshold).min() == pytest.approx(0.45 / 19)

    def test_points_are_measured_unchanged_on_other_data(self):
        chosen, other = simulate(seed=10), simulate(seed=11)
        points = operating_points(chosen.probabilities, chosen.labels, list(chosen.patients))
        thresholds = {name: point.threshold for name, point in points.items()}
        measured = measure_points(thresholds, other)
        for name, point in measured.items():
            answers = other.probabilities >= thresholds[name]
            sensitivity = reference.recall_score(other.labels, answers)
            specificity = reference.recall_score(other.labels, answers, pos_label=0)
            assert point.sensitivity.value == pytest.approx(sensitivity)
            assert point.specificity.value == pytest.approx(specificity)
            assert point.specificity.low < specificity < point.specificity.high

    @pytest.mark.parametrize("extreme", [0.0, 1.0])
    def test_saturated_probabilities_give_a_usable_threshold(self, extreme):
        points = operating_points([extreme] * 4, [0, 1, 0, 1], resamples=20)
        assert all(0 < point.threshold < 1 for point in points.values())

    def test_both_classes_are_required(self):
        with pytest.raises(ValueError, match="both classes"):
            operating_points([0.1, 0.2], [1, 1])


@pytest.fixture(scope="module")
def scored():
    return simulate(count=600, patients=200, seed=20)


@pytest.fixture(scope="module")
def evaluation(scored):
    machines = ["21", "29", "210", None]
    return evaluate_scores(
        scored,
        groups={
            "machine": [machines[i % 4] for i in range(600)],
            "view": ["CC" if i else "MLO" for i in range(600)],
        },
        thresholds={"default": 0.5},
        resamples=200,
    )


class TestEvaluation:
    def test_counts(self, scored, evaluation):
        assert evaluation.images == 600
        assert evaluation.patients == np.unique(scored.patients).size
        assert evaluation.breasts == np.unique(scored.breasts).size
        assert evaluation.positives == scored.labels.sum()

    def test_json_has_the_requested_measures(self, evaluation):
        found = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
        for name in (
            "auc",
            "auprc",
            "accuracy",
            "majority",
            "balanced_accuracy",
            "brier",
            "log_loss",
            "ece",
            "sensitivity_at_specificity_90",
            "sensitivity_at_specificity_95",
            "specificity_at_sensitivity_90",
            "calibration_slope",
            "calibration_intercept",
        ):
            assert set(found[name]) == {"value", "low", "high"}
            assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
        assert {"images", "patients", "breasts", "positives"} <= set(found)
        assert found["breast"]["auc"]["value"] > 0.5
        assert found["patient"]["auc"]["value"] > 0.5
        assert found["operating_points"]["default"]["threshold"] == 0.5

    def test_each_level_is_measured_on_its_scores(self, scored, evaluation):
        breasts = scored.by_breast()
        expected = reference.roc_auc_score(breasts.labels, breasts.logits)
        assert evaluation.breast["auc"].value == pytest.approx(expected)

    def test_groups(self, scored, evaluation):
        assert list(evaluation.groups["machine"]) == ["21", "29", "210"]
        areas = []
        for index, machine in enumerate(("21", "29", "210")):
            where = np.arange(600) % 4 == index
            group = evaluation.groups["machine"][machine]
            area = reference.roc_auc_score(scored.labels[where], scored.logits[where])
            assert group.images == 150
            assert group.auc.value == pytest.approx(area)
            areas.append(area)
        assert evaluation.within["machine"].value == pytest.approx(np.mean(areas))
        assert evaluation.groups["view"]["MLO"].auc is None
        assert evaluation.within["view"] is None

    def test_recognising_the_scanner_does_not_raise_the_auc_within_scanners(self):
        """Scores that depend on the machine alone have no value within machines."""
        rng = np.random.default_rng(0)
        machine = rng.integers(0, 2, 1000)
        labels = (rng.random(1000) < np.where(machine == 1, 0.8, 0.2)).astype(int)
        scored = Scored.of(labels, machine + rng.normal(0, 0.01, 1000))
        assert measure(scored)["auc"] > 0.75
        groups = {"machine": [str(m) for m in machine]}
        within = evaluate_scores(scored, groups=groups, resamples=100).within["machine"]
        assert within.value == pytest.approx(0.5, abs=0.05)
        assert within.low < 0.5 < within.high

    def test_refuses_one_class(self):
        with pytest.raises(SingleClassError, match="only one class by image"):
            evaluate_scores(Scored.of([1, 1], [0.0, 1.0]))

    def test_refuses_one_class_by_patient(self):
        scored = Scored.of([1, 0], [0.0, 1.0], patients=["a", "a"])
        with pytest.raises(SingleClassError, match="only one class by patient"):
            evaluate_scores(scored)

    def test_perfect_separation_has_no_slope(self):
        scored = Scored.of([0, 0, 1, 1], [-2.0, -1.0, 1.0, 2.0])
        found = evaluate_scores(scored, resamples=50)
        assert found.image["auc"].value == 1.0
        assert found.image["calibration_slope"].to_json()["value"] is None

    def test_full_size_takes_seconds(self):
        scored = simulate(count=3000, patients=850)
        start = time.process_time()
        evaluate_scores(scored)
        assert time.process_time() - start < 30.0  # about 3 s; the rest is for busy machines


def test_interval_json_has_no_nan():
    assert Interval(0.5, float("nan"), 1.0).to_json() == {"value": 0.5, "low": None, "high": 1.0}


def test_a_negative_end_has_no_dash_before_its_minus_sign():
    assert str(Interval(0.5, 0.25, 0.75)) == "0.500 (0.250–0.750)"
    assert str(Interval(-0.5, -0.75, -0.25)) == "-0.500 (-0.750 to -0.250)"
