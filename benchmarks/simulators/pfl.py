"""pfl-research (Granqvist et al. 2024, arXiv 2404.06430): its simulated back end with PyTorch models."""

from __future__ import annotations

import copy
from types import MethodType

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.model.pytorch import PyTorchModel


class Pfl:
    def __init__(self, net, clients, cohort: int, batch: int, step: float) -> None:
        """net: a torch module; clients: (inputs, targets) of each."""
        self.cohort = cohort
        random = np.random.default_rng(0)
        data = FederatedDataset(
            lambda user: Dataset(raw_data=list(clients[user]), user_id=str(user)),
            lambda: int(random.integers(len(clients))),
        )
        self.backend = SimulatedBackend(training_data=data, val_data=data)
        net = copy.deepcopy(net)
        net.loss = MethodType(_loss, net)
        net.metrics = MethodType(lambda self, x, y, eval=True: {}, net)
        server = torch.optim.SGD(net.parameters(), lr=1.0)
        self.model = PyTorchModel(net, torch.optim.SGD, server)
        self.training = NNTrainHyperParams(
            local_batch_size=batch, local_num_epochs=1, local_learning_rate=step
        )

    def rounds(self, count: int) -> None:
        plan = NNAlgorithmParams(count, 10**6, self.cohort, 0)
        self.model = FederatedAveraging().run(
            plan, self.backend, self.model, self.training, NNEvalHyperParams(None),
            send_metrics_to_platform=False,
        )  # fmt: skip


def _loss(net, x, y, is_eval=False):
    return torch.nn.functional.cross_entropy(net(x), y)
