"""Quantiles of grey values are those of NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mammoscope.imaging.quantiles import quantiles

shares = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4).map(sorted)
values = arrays.arrays(
    np.float32, arrays.array_shapes(max_dims=2, max_side=40), elements=st.floats(0, 1, width=32)
)


@given(values, shares)
def test_quantiles_are_those_of_numpy(values: np.ndarray, shares: list[float]) -> None:
    before = values.copy()
    found = quantiles(values, shares)
    assert found == pytest.approx(np.quantile(values.astype(np.float64), shares), abs=1e-12)
    assert np.array_equal(values, before)
