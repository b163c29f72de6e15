"""What bfloat16 makes of a network, on processors that do not compute in it."""

from typing import Any, Final

import numpy as np

from mammoscope.export.blocks import CONVOLUTIONS
from mammoscope.model.conversion import import_openvino

_PRODUCTS: Final = (*CONVOLUTIONS, "MatMul")

_SPLITTER: Final = np.float32((1 << 16) + 1)
"""Leaves the 8 significant bits of bfloat16 of the 24 of float32; range and exponents are equal.

References
----------
Dekker TJ. A floating-point technique for extending the available precision. Numer Math
1971;18:224-242, section 5, after Veltkamp.
"""


def rounded_to_bfloat16(model: Any) -> Any:
    """Copy a network with all factors of its products rounded to bfloat16.

    That is what processors with bfloat16 multiply; sums they keep in float32, as here. In which
    order they sum, and where they round between products, is their own, so that logits are not
    theirs to the last bit, but err as much.

    Parameters
    ----------
    model
        OpenVINO model; it is left as it is.

    Returns
    -------
    model
        Computes in float32, on factors that bfloat16 can hold.
    """
    import_openvino()
    from openvino import opset13

    copy = model.clone()
    for node in copy.get_ordered_ops():
        if node.get_type_name() in _PRODUCTS:
            for number in (0, 1):
                exact = node.input_value(number)
                scaled = opset13.multiply(exact, _SPLITTER)
                rounded = opset13.subtract(scaled, opset13.subtract(scaled, exact))
                node.input(number).replace_source_output(rounded.output(0))
    copy.validate_nodes_and_infer_types()
    return copy
