"""What is recorded of a network: losses, accuracies, and what it makes of rows."""

from __future__ import annotations

import numpy as np
import torch

from fewbits import rng
from fewbits.federation.objective import square
from fewbits.federation.sampling import permutation

CHUNK = 4096  # rows that are worked on together: bounds memory


class Evaluated:
    """The part of a `NetworkObjective` (base.py) that looks at models and changes nothing. Batch normalisation goes by the running
    statistics here."""

    def losses(self, x, statistics=None):
        self.net.eval()
        held = [None] * len(x) if statistics is None else statistics
        found = [self._losses(p.clone(), s) for p, s in zip(x, held, strict=True)]
        self.net.train()
        return torch.stack(found)

    def measure(self, x, statistics=None):
        if self.statistics is not None and statistics is None:
            raise ValueError(f"{self.model.net}: its running statistics are needed to measure it")
        self.net.eval()
        held = [None] * len(x) if statistics is None else statistics
        metrics = {}
        if self.model.train_metrics:
            loss, gradient = self._mean(x, statistics)
            metrics = {"loss": loss, "grad_sq": square(gradient)}
        if self.model.client_metrics:
            found = torch.stack(
                [self._own_accuracy(p.clone(), s) for p, s in zip(x, held, strict=True)]
            )
            worst = found.sort(dim=1).values[:, : -(-self.clients // 10)]
            metrics |= {
                "client_accuracy": found.mean(dim=1),
                "client_accuracy_low": worst.mean(dim=1),
            }
        if self.data.test_x is not None:
            tests = [self._test(p.clone(), s) for p, s in zip(x, held, strict=True)]
            metrics |= dict(zip(("test_loss", "test_accuracy"), torch.tensor(tests).T, strict=True))
        self.net.train()
        return metrics

    @torch.no_grad()
    def representations(self, who: np.ndarray, x: torch.Tensor, statistics=None) -> torch.Tensor:
        """Of all rows of these clients, each by its own model as it is evaluated: x (m, D), statistics (m, S) -> (m, most
        rows, C), zero where a client has fewer rows."""
        self.net.eval()
        held = [None] * len(who) if statistics is None else statistics
        each = [self._represented(*of) for of in zip(who, x, held, strict=True)]
        self.net.train()
        return torch.nn.utils.rnn.pad_sequence(each, batch_first=True)

    @torch.no_grad()
    def test_representations(self, x: torch.Tensor, statistics=None) -> torch.Tensor:
        """Of the test rows, as `measure` sees them: x (D,), statistics (S,) -> (rows, C)."""
        self.net.eval()
        pieces = torch.arange(len(self._test_x)).split(CHUNK)
        found = [self.represent(x, self.inputs(rows, self._test_x), statistics) for rows in pieces]
        self.net.train()
        return torch.cat(found)

    def _test_rows(self, wanted: int | None) -> np.ndarray:
        """Which test rows are evaluated, the same in every run."""
        there = 0 if self.data.test_y is None else len(self.data.test_y)
        if wanted is None or wanted >= there:
            return np.arange(there)
        return np.sort(permutation(rng.stream("test rows"), there)[:wanted])

    def _represented(self, client: int, x: torch.Tensor, statistics) -> torch.Tensor:
        pieces, x = torch.from_numpy(self.parts[client]).split(CHUNK), x.clone()
        return torch.cat([self.represent(x, self.inputs(rows), statistics) for rows in pieces])

    def _test(self, x: torch.Tensor, statistics) -> tuple[float, float]:
        """Mean loss and accuracy on the test part."""
        total = right = count = 0
        for rows in torch.from_numpy(self._tested).split(self.evaluated):
            logits = self.logits(x, self.inputs(rows, self._test_x), statistics)
            wanted = self._test_y[rows]
            total += float(torch.nn.functional.cross_entropy(logits, wanted, reduction="sum"))
            right += int((logits.argmax(dim=1) == wanted).sum())
            count += int((wanted >= 0).sum())
        return total / count, right / count

    def _losses(self, x: torch.Tensor, statistics) -> torch.Tensor:
        """f_i of every client: (clients,)."""
        found = []
        for rows in torch.from_numpy(self._everyone.rows).split(self.evaluated):
            wanted = self.targets(rows)
            loss = torch.nn.functional.cross_entropy(
                self.logits(x, self.inputs(rows), statistics), wanted, reduction="none"
            )
            if loss.dim() > 1:  # of a sequence, the mean over what there is to predict
                loss = loss.sum(dim=1) / (wanted >= 0).sum(dim=1)
            found.append(loss)
        means = torch.stack([part.mean() for part in torch.cat(found).split(self.sizes.tolist())])
        return means + self.model.weight_decay / 2 * (x @ x)

    def _own_accuracy(self, x: torch.Tensor, statistics) -> torch.Tensor:
        """Accuracy on each client's rows: (clients,) float64."""
        right, there = [], []
        for rows in torch.from_numpy(self._everyone.rows).split(self.evaluated):
            wanted = self.targets(rows)
            hit = self.logits(x, self.inputs(rows), statistics).argmax(dim=1) == wanted
            right.append(hit.reshape(len(rows), -1).sum(dim=1))
            there.append((wanted >= 0).reshape(len(rows), -1).sum(dim=1))
        sizes = self.sizes.tolist()
        right, there = (
            torch.stack([part.sum() for part in torch.cat(each).split(sizes)])
            for each in (right, there)
        )
        return right.double() / there
