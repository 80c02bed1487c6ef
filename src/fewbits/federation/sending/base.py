"""What a sending rule is: it says which of a client's numbers its message of this round is about."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fewbits.federation.objective import Layer
from fewbits.lazy import torch


class Sending:
    """Everything: the message is about all of them. The compressor works on what `take` gives, and the receiver puts
    what it decodes where it belongs; all other numbers arrive as zero.

    `who` (lanes, m) are the clients' numbers, `round` counts from 1; both ends know them, so that they cost nothing.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    whole: ClassVar[bool] = (
        True  # whether messages are about whole updates, so that C's constants hold for them
    )

    def layers(self, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """The layers of what one message is about. layers: those of a model's numbers."""
        return layers

    def take(self, x: torch.Tensor, who: np.ndarray, round: int) -> torch.Tensor:
        """The part of each client's numbers that is sent: (lanes, m, *shape) -> (lanes, m, *part)."""
        return x

    def put(self, part: torch.Tensor, who: np.ndarray, round: int, shape: tuple) -> torch.Tensor:
        """The inverse, zero elsewhere: (lanes, m, *part) -> (lanes, m, *shape)."""
        return part
