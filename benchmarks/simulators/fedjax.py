"""FedJAX (Ro, Suresh, Wu 2021, arXiv 2108.02117): its own federated averaging on its own in-memory clients."""

from __future__ import annotations

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import jax

if not hasattr(jax, "tree_map"):  # FedJAX is older than its removal from jax
    jax.tree_map = jax.tree_util.tree_map

import fedjax
import haiku as hk
import jax.numpy as jnp
import numpy as np
from fedjax.algorithms.fed_avg import federated_averaging


class FedJAX:
    def __init__(self, net: str, x, y, parts, cohort: int, batch: int, step: float) -> None:
        images = (x.reshape(-1, 28, 28, 1) / np.float32(255)).astype(np.float32)
        sets = {i: fedjax.ClientDataset({"x": images[p], "y": y[p]}) for i, p in enumerate(parts)}
        self.sets, self.cohort, self.random = sets, cohort, np.random.default_rng(0)
        model = fedjax.create_model_from_haiku(
            hk.transform(NETS[net]), sets[0].all_examples(),
            lambda rows, logits: fedjax.metrics.unreduced_cross_entropy_loss(rows["y"], logits),
        )  # fmt: skip
        self.method = federated_averaging(
            fedjax.model_grad(model), fedjax.optimizers.sgd(step), fedjax.optimizers.sgd(1.0),
            fedjax.ShuffleRepeatBatchHParams(batch_size=batch, num_epochs=1, seed=0),
        )  # fmt: skip
        self.state = self.method.init(model.init(jax.random.PRNGKey(0)))

    def rounds(self, count: int) -> None:
        for _ in range(count):
            chosen = self.random.choice(len(self.sets), self.cohort, replace=False)
            clients = [(i, self.sets[i], jax.random.PRNGKey(i)) for i in chosen.tolist()]
            self.state, _ = self.method.apply(self.state, clients)
        jax.block_until_ready(self.state.params)


def two_nn(rows):
    return hk.nets.MLP((200, 200, 10))(rows["x"].reshape(len(rows["x"]), -1))


def cnn(rows):
    layers = [
        f for c in (32, 64) for f in (hk.Conv2D(c, 5), jax.nn.relu, hk.MaxPool(2, 2, "VALID"))
    ]
    layers += [hk.Flatten(), hk.Linear(512), jax.nn.relu, hk.Linear(10)]
    return hk.Sequential(layers)(jnp.asarray(rows["x"]))


NETS = {"two_nn": two_nn, "cnn": cnn}
