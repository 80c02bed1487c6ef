"""Every client trains alone: what a method must beat for its messages to be worth anything."""

from __future__ import annotations

from typing import ClassVar

from fewbits.algorithms.base import needs_plain_server
from fewbits.algorithms.personal import Serverless
from fewbits.registry import plugin


@plugin
class LocalOnly(Serverless):
    """Nothing is sent.

        theta_i^{t+1} = where local work from theta_i^t ends           client i of the cohort
        x^{t+1} = (1/n) sum_i theta_i^{t+1}                            nobody's: what is measured beside the clients' own

    The baseline of McMahan et al. (2017, Figure 1 and section 1): no federation at all.
    """

    name: ClassVar[str] = "local"
    sends: ClassVar[str] = "nothing"
    averages: ClassVar[bool] = False
    cite: ClassVar[str] = "mcmahan2017"
    label: ClassVar[str] = "local"

    def check(self, local, model, server) -> str | None:
        """Why this cannot be used with these slots, or None."""
        return self.misfit(local, model) or needs_plain_server(server)

    def round(self, s, run):
        return {"theta_i": run.keep(s["theta_i"], run.work(run.own(s["theta_i"])))}
