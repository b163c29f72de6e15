"""Names of the channels of a network's input, which training, cards and preprocessing share."""

from typing import Literal

ChannelsName = Literal["ranks", "three"]
"""Ranks of grey values only, or three channels: ranks, a linear window, local contrast."""
