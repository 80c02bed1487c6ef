"""Damaged payloads for every family: one clear error each, or a finite vector."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from fewbits import registry
from fewbits.compressors.message import MessageError

D = 30
# 100,000 of each family take a quarter of an hour: FEWBITS_PAYLOADS=100000 for that.
PAYLOADS = int(os.environ.get("FEWBITS_PAYLOADS", "3000"))


@pytest.mark.long
@pytest.mark.parametrize("name", registry.plugins("compressor"))
@pytest.mark.filterwarnings("error")
def test_damaged_payloads_never_crash(name):
    random = np.random.default_rng(5)
    plugin = registry.find("compressor", name)
    compressors = [plugin(**parameters) for parameters in plugin.examples(D)]
    x = torch.from_numpy(random.standard_normal(D))
    whole = [(c, c.encode(x, key=3).to_bytes()) for c in compressors]
    refused = 0
    for i in range(PAYLOADS):
        compressor, payload = whole[i % len(whole)]
        damaged = damage(payload, random)
        try:
            message = compressor.from_bytes(damaged, (D,))
            decoded = compressor.decode(message, (D,), x.dtype)
        except MessageError as error:
            refused += 1
            assert str(error) and "\n" not in str(error)
        else:
            assert decoded.shape == (D,) and bool(torch.isfinite(decoded).all())
    assert refused > PAYLOADS / 20  # the damage is real


def damage(payload: bytes, random: np.random.Generator) -> bytes:
    """Flip a few bits; sometimes cut, lengthen, or replace it all."""
    content = bytearray(payload)
    kind, places, bits = (
        random.random(),
        random.integers(0, len(content), 3),
        random.integers(0, 8, 3),
    )
    for place, bit in zip(places[: 1 + int(kind * 10) % 3], bits, strict=False):
        content[place] ^= 1 << int(bit)
    if kind < 0.1:
        return bytes(content[: places[0]])
    if kind < 0.2:
        return bytes(content) + random.bytes(int(bits[0]) + 1)
    return random.bytes(len(content)) if kind < 0.25 else bytes(content)
