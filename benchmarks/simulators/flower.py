"""Flower (Beutel et al. 2020, arXiv 2007.14390): its simulation engine, on Ray, with one worker."""

from __future__ import annotations

import functools

import psutil
import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

WARM = 2  # rounds before the clock starts: workers are made and read their rows


def seconds_a_round(net: str, clients: int, cohort: int, rounds: int) -> float:
    """Processor time a round, of the driver and all processes under it."""
    times = []

    class Timed(FedAvg):
        def configure_train(self, server_round, *args, **kwargs):
            times.append(_processor_time())
            return super().configure_train(server_round, *args, **kwargs)

    server = ServerApp()

    @server.main()
    def main(grid, context):
        strategy = Timed(
            fraction_train=cohort / clients, fraction_evaluate=0.0, min_train_nodes=cohort,
            min_available_nodes=clients,
        )  # fmt: skip
        start = ArrayRecord(_problem(net)[0].state_dict())
        strategy.start(grid=grid, initial_arrays=start, num_rounds=WARM + rounds + 1)

    client = ClientApp()

    @client.train()
    def train(message, context):
        net_, sets, work = _problem(net)
        net_.load_state_dict(message.content["arrays"].to_torch_state_dict())
        x, y = sets[context.node_config["partition-id"]]
        content = RecordDict(
            {
                "arrays": ArrayRecord(work(net_, x, y).state_dict()),
                "metrics": MetricRecord({"num-examples": len(y)}),
            }
        )
        return Message(content=content, reply_to=message)

    resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": 1}}
    run_simulation(server, client, clients, backend_config=resources)
    return (times[WARM + rounds] - times[WARM]) / rounds


@functools.cache
def _problem(net: str):
    """The network, the clients' rows and the plain loop's local work, once a process."""
    from benchmarks.federated import Plain, assembled

    torch.set_num_threads(1)
    plain = Plain(assembled(net))
    return plain.net, plain.clients, lambda model, x, y: plain.work(x, y, model)


def _processor_time() -> float:
    this = psutil.Process()
    used = [p.cpu_times() for p in (this, *this.children(recursive=True))]
    return sum(t.user + t.system for t in used)
