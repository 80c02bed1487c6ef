"""Step sizes from theory: what they rest on, and the one lemma that most of them follow from.

Lemma. Let x^{t+1} = x^t - gamma g^t, f be L-smooth with infimum f*, and let the errors e^t = g^t - grad f(x^t) follow the moves:

    sqrt(sum_{t<T} E|e^t|^2) <= c + kappa sqrt(sum_{t<T} E|x^{t+1} - x^t|^2).

Then for gamma = 1 / (L + kappa)

    (1/T) sum_{t<T} E|grad f(x^t)|^2 <= (2 (f(x^0) - f*) / gamma + (1 + kappa/L) c^2) / T.

Proof: f(x^{t+1}) <= f(x^t) - gamma/2 |grad f(x^t)|^2 - (1/(2 gamma) - L/2) |x^{t+1} - x^t|^2 + gamma/2 |e^t|^2 (arXiv
2106.05203, Lemma 2); sum it, and use (c + kappa m)^2 <= (1 + kappa/L) c^2 + kappa (kappa + L) m^2. For EF21,
kappa = L_tilde sqrt(beta/theta) gives the step of its Theorem 1. A method's file says what its kappa is; where the
paper prints a smaller step, the file says so. In the files, |e|_T is short for sqrt(sum_{t<T} E|e^t|^2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, sqrt

from fewbits.federation.objective import Smoothness

SHARED_RULES = ("gd", "ef21")  # mean the same for every method


class NoStep(ValueError):
    """Theory gives no step here: why not, as a clause, and what does instead."""

    def __init__(self, reason: str, remedy: str = "step: {value: ...}") -> None:
        super().__init__(f"{reason}; allowed: {remedy}")
        self.reason, self.remedy = reason, remedy


@dataclass(frozen=True)
class Theory:
    """What a step may rest on.

    alpha, omega: constants of the clients' C (compressors/base.py), None where it has none; alpha_down: of the
    server's. share: probability that a client takes part in a round, the same for all; None if there is none such.
    exact: whether an update is a gradient (not what local work changed). plain: whether the server's step is (no optimiser, the mean).
    whole: whether a message is about the whole update. instead: what has a contraction constant where the clients' C has none, for messages.
    """

    smoothness: Smoothness | None
    clients: int
    alpha: float | None
    omega: float | None
    alpha_down: float | None = 1.0
    share: float | None = 1.0
    exact: bool = True
    plain: bool = True
    whole: bool = True
    instead: str | None = None

    @property
    def contraction(self) -> float:
        """alpha_C. Raises NoStep."""
        if self.alpha is not None:
            return self.alpha
        ways = [self.instead] if self.instead else []
        if self.omega is None:
            reason = "the compressor has no contraction constant"
        else:
            reason = "the compressor is unbiased but has no contraction constant"
            ways.append("algorithm diana or marina")
        raise NoStep(reason, ", ".join([*ways, "or step: {value: ...}"]))

    @property
    def variance(self) -> float:
        """omega. Raises NoStep."""
        if self.omega is None:
            reason = "this algorithm's theory needs an unbiased compressor, which this is not"
            raise NoStep(reason, "an unbiased one (such as randk), or step: {value: ...}")
        return self.omega

    def require_everyone(self) -> None:
        """Raise NoStep unless all clients take part in every round."""
        if self.share != 1:
            raise NoStep("this algorithm's theory needs all clients in every round")


def step_size(algorithm, rule: str, theory: Theory) -> float:
    """The step at factor 1. Raises NoStep.

    gd: 1/L. ef21: that of EF21 with all clients and full gradients, in multiples of which published
    experiments give the steps of other methods too. Others: the algorithm's own.
    """
    if theory.smoothness is None:
        raise NoStep("the smoothness of the model is not known")
    if rule == "gd":
        return 1 / theory.smoothness.L
    if not theory.exact:
        raise NoStep("theory knows updates that are gradients, not the outcome of local work")
    if not theory.plain:
        raise NoStep(
            "theory knows the plain step of a server along a mean, not those of its optimiser or another aggregation"
        )
    if not theory.whole:
        raise NoStep("theory knows messages about whole updates, not about a part of them")
    if rule == "ef21":
        return ef21_step("theory", replace(theory, share=1.0))
    return algorithm.step_size(rule, theory)


def only_theory(rule: str) -> None:
    """For methods that have a general non-convex step and no other. Raises NoStep."""
    if rule != "theory":
        raise NoStep(f"this algorithm has no step by rule {rule}", "rule: theory, gd or ef21")


def theta_beta(alpha: float) -> tuple[float, float]:
    """EF21's theta = 1 - sqrt(1 - alpha) and beta = (1 - alpha)/(1 - sqrt(1 - alpha)) (arXiv 2106.05203, Lemma 3)."""
    root = sqrt(1 - alpha)
    return 1 - root, (1 - alpha) / (1 - root)


def lag(alpha: float) -> float:
    """sqrt(beta/theta) = r / (1 - r), r = sqrt(1 - alpha): how far a Markov compressor trails what it follows.

    If e^{t+1} <= r (e^t + m^t) for every t, then |e|_T <= e^0 / sqrt(alpha) + lag |m|_T.
    """
    root = sqrt(1 - alpha)
    return root / (1 - root)


def ef21_step(rule: str, theory: Theory) -> float:
    """The largest step that EF21's theory allows (arXiv 2106.05203, Theorems 1 and 2).

    theory: 1 / (L + L_tilde sqrt(beta/theta)); pl: min(1 / (L + L_tilde sqrt(2 beta/theta)), theta / (2 mu)).

    Partial participation (EF21-PP, arXiv 2110.03294, Algorithm 4): to client i, "C with probability p, else nothing" is
    one more compressor, with alpha = p alpha_C, and the theory of EF21 asks no more of it.
    """
    if theory.share is None:
        raise NoStep("theory needs clients that are equally likely to take part")
    theta, beta = theta_beta(theory.contraction * theory.share)
    smoothness = theory.smoothness
    if rule == "theory":
        return 1 / (smoothness.L + smoothness.L_tilde * sqrt(beta / theta))
    cap = theta / (2 * smoothness.mu) if smoothness.mu else inf
    return min(1 / (smoothness.L + smoothness.L_tilde * sqrt(2 * beta / theta)), cap)
