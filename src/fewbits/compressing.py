"""The commands `fewbits compress`, `decompress` and `compressors`: one array in a file, by hand."""

from __future__ import annotations

import time
from math import prod
from pathlib import Path

import click

ANY = {"ignore_unknown_options": True, "allow_extra_args": True}
FILE = click.Path(path_type=Path, dir_okay=False)
WITH = click.option("--with", "name", required=True, help="The compressor, e.g. st_hosvd.")


@click.command(context_settings=ANY)
@click.argument("file", type=FILE)
@WITH
@click.option("--out", type=FILE, help="Write the message's bytes here.")
@click.option(
    "--key",
    type=click.IntRange(0, 2**64 - 1),
    default=0,
    show_default=True,
    help="Names the random stream.",
)
@click.pass_context
def compress(context, file: Path, name: str, out: Path | None, key: int) -> None:
    """Compress an array, and say what it costs.

    FILE is a .npy file of numbers. Further options are the compressor's parameters, or a size rule:

    \b
    fewbits compress g.npy --with st_hosvd --rank 4
    fewbits compress g.npy --with topk --budget 0.02 --out g.bin
    """
    from fewbits.compressors.catalogue import classified
    from fewbits.lazy import torch

    torch.set_num_threads(1)
    x = _array(file)
    shape = tuple(x.shape)
    made = _compressor(name, context.args, shape)
    encode, message = _timed(lambda: made.encode(x, str(file), key))
    data = message.to_bytes()
    decode, back = _timed(lambda: made.decode(made.from_bytes(data, shape), shape, x.dtype))
    bits, dense = message.bits, 32 * prod(shape)
    split = f"values {bits.values:,}, indices {bits.indices:,}, metadata {bits.metadata:,}"
    click.echo(f"compressor  {_said(made)} ({', '.join(classified(made, shape))})")
    click.echo(f"array       {_shape(shape)} {_type(x)}, {prod(shape):,} numbers")
    click.echo(f"payload     {bits.total:,} bits: {split}")
    click.echo(f"share       {100 * bits.total / dense:.3g} % of dense float32")
    click.echo(f"error       {_error(x, back)} of the squared norm")
    click.echo(f"time        encode {1e3 * encode:.3g} ms, decode {1e3 * decode:.3g} ms")
    if out is not None:
        out.write_bytes(data)
        click.echo(f"{len(data):,} bytes: {out}")


@click.command(context_settings=ANY)
@click.argument("file", type=FILE)
@WITH
@click.option("--shape", required=True, help="Of the array that was compressed, e.g. 64x32x3x3.")
@click.option("--dtype", default="float32", type=click.Choice(["float32", "float64"]))
@click.option("--out", required=True, type=FILE, help="The .npy file to write.")
@click.pass_context
def decompress(context, file: Path, name: str, shape: str, dtype: str, out: Path) -> None:
    """Read what `compress --out` wrote.

    With the compressor and parameters of then: both ends of a connection know them, so they are not in the message.
    """
    import numpy as np

    from fewbits.lazy import torch

    try:
        sides = tuple(int(side) for side in shape.split("x") if side)
    except ValueError:
        sides = (0,)
    if any(side < 1 for side in sides):
        raise click.UsageError(f"--shape: found {shape!r}; allowed: sides such as 64x32x3x3")
    made = _compressor(name, context.args, sides)
    message = made.from_bytes(file.read_bytes(), sides)
    np.save(out, made.decode(message, sides, getattr(torch, dtype)).numpy())
    click.echo(f"{shape} {dtype}: {out}")


@click.command()
@click.option(
    "--write", type=FILE, help="Write the table into this Markdown file, between its marks."
)
def compressors(write: Path | None) -> None:
    """List all compressors.

    With class, constant, bits and source.
    """
    from fewbits.compressors import catalogue
    from fewbits.files import write_text

    if write is None:
        click.echo(catalogue.as_text())
        return
    write_text(write, catalogue.into(write.read_text(encoding="utf-8")))
    click.echo(write)


def _array(file: Path):
    import numpy as np

    from fewbits.lazy import torch

    try:
        x = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{file}: cannot be read as a .npy file of numbers ({error})") from None
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu" or not x.size:
        one = isinstance(x, np.ndarray)
        found = f"{_shape(x.shape)} {x.dtype}" if one else "several arrays"
        raise ValueError(f"{file}: found {found}; allowed: an array of numbers that is not empty")
    return torch.from_numpy(x.astype(np.float64 if x.dtype == np.float64 else np.float32))


def _compressor(name: str, words: list[str], shape: tuple[int, ...]):
    """The compressor that `--with NAME --parameter value ...` means, checked as in a study."""
    from fewbits.compressors import sizes
    from fewbits.studies.choices import by_hand
    from fewbits.studies.reading import read_value

    block: dict = {"name": name}
    words = [part for word in words for part in word.split("=", 1)]
    for option, value in zip(words[::2], [*words[1::2], None], strict=False):
        if not option.startswith("--") or value is None:
            raise click.UsageError(f"found {option!r}; allowed: --parameter value")
        parameter = option.removeprefix("--").replace("-", "_")
        block[parameter] = read_value(value, f"--with {name}: {option}")
    return sizes.resolve(by_hand("compressor", block, f"--with {name}").value, shape)


def _said(made) -> str:
    fields = type(made).__pydantic_fields__
    return " ".join([made.name, *(f"{field}={getattr(made, field)}" for field in fields)])


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number,"


def _error(x, back) -> str:
    """|C(x) - x|^2 / |x|^2, whose squares neither overflow nor vanish."""
    unit = float(x.abs().max()) or 1.0
    energy, lost = (float((y / unit).square().sum()) for y in (x.double(), back.double() - x))
    return f"{lost / energy:.6g}" if energy else f"{lost:.6g} (of a zero array)"


def _type(x) -> str:
    return str(x.dtype).removeprefix("torch.")


def _timed(function):
    """Seconds of the shortest of three calls, and the result."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - began)
    return min(times), result
