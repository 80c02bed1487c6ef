"""A ring all-reduce in simulated time (Patarasuk and Yuan 2009): every node ends with the sum of all nodes' vectors."""

from __future__ import annotations

from fewbits.lazy import torch


def all_reduce(
    begin: torch.Tensor, bits: torch.Tensor, rate: float, latency: float
) -> torch.Tensor:
    """When each of J nodes has the sum: (lanes, J).

    begin (lanes, J): when a node's own vector is ready; bits (lanes,): of a vector, cut into J parts. In each of 2 (J - 1)
    hops a node sends one part to the next, once it has the part that came in the hop before and its link is free. Of
    equal nodes: 2 (J - 1) (latency + bits / (J rate)) after they begin.
    """
    nodes = begin.shape[1]
    takes = (bits / nodes / rate)[:, None]
    has = free = begin
    for _ in range(2 * (nodes - 1)):
        free = torch.maximum(has, free) + takes
        has = torch.maximum((free + latency).roll(1, dims=1), begin)
    return has
