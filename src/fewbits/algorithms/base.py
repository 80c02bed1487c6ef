"""What an algorithm is. One file a published method beside this one, each reads like the box in its paper.

Shapes: x (lanes, *shape); what clients hold (lanes, clients, *shape). A lane is one run of a batch
(federation/objective.py); a box says nothing of lanes because every line works on all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import ClassVar

from fewbits.federation.network import Network
from fewbits.federation.objective import Objective, Smoothness
from fewbits.lazy import torch

State = "dict[str, torch.Tensor]"  # each with the lane as its first dimension; "x" is the model


@dataclass(frozen=True)
class Round:
    """What a method works with: the clients' objective, the network, and the step size of each lane."""

    objective: Objective
    network: Network
    step: torch.Tensor  # (lanes, *[1] * len(shape))

    def gradients(self, x: torch.Tensor) -> torch.Tensor:
        """The full gradient of every client at x."""
        return self.objective.gradients(x)

    def compress(self, x: torch.Tensor):
        return self.network.compress(x)

    def up(self, message) -> torch.Tensor:
        return self.network.up(message)

    def down(self, x: torch.Tensor) -> torch.Tensor:
        return self.network.down(x)


class Algorithm:
    """`initial_state` makes the state from the starting point; `round` is one round, x^t to x^(t+1).

    `sends` says what its uplink needs: "compressed" (a study must name a compressor) or "dense".
    """

    name: ClassVar[str]
    sends: ClassVar[str] = "compressed"
    cite: ClassVar[str]
    label: ClassVar[str]  # how figures and tables call it

    def initial_state(self, x: torch.Tensor, run: Round) -> State:
        return {"x": x}

    def round(self, s: State, run: Round) -> State:
        raise NotImplementedError

    def step_size(self, rule: str, smoothness: Smoothness, alpha: float) -> float:
        """The step at factor 1. `rule`: "theory" (general non-convex) or "pl"; alpha: contraction of C."""
        return ef21_step(rule, smoothness, alpha)


def mean(x: torch.Tensor) -> torch.Tensor:
    """The server's mean over clients: (lanes, clients, *shape) -> (lanes, *shape)."""
    return x.mean(dim=1)


def theta_beta(alpha: float) -> tuple[float, float]:
    """EF21's theta = 1 - sqrt(1 - alpha) and beta = (1 - alpha)/(1 - sqrt(1 - alpha)) (arXiv 2106.05203, Lemma 3)."""
    root = sqrt(1 - alpha)
    return 1 - root, (1 - alpha) / (1 - root)


def ef21_step(rule: str, smoothness: Smoothness, alpha: float) -> float:
    """The largest step that EF21's theory allows (arXiv 2106.05203, Theorems 1 and 2).

    theory: 1 / (L + L_tilde sqrt(beta/theta)); pl: min(1 / (L + L_tilde sqrt(2 beta/theta)), theta / (2 mu)).
    """
    theta, beta = theta_beta(alpha)
    if rule == "theory":
        return 1 / (smoothness.L + smoothness.L_tilde * sqrt(beta / theta))
    cap = theta / (2 * smoothness.mu) if smoothness.mu else inf
    return min(1 / (smoothness.L + smoothness.L_tilde * sqrt(2 * beta / theta)), cap)
