"""How numbers are written, once, for the report, the figures and the tables."""

from __future__ import annotations

import math
import re

MINUS, THIN, NO_BREAK, TIMES = "−", "\u202f", "\u00a0", "×"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value, digits: int = 3) -> str:
    """`1.3 × 10⁻⁷`, `4 000`, `0.25`, `∞`; an en dash for a missing value. Text passes through."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    value = float(value)
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if value == 0:
        return "0"
    if value.is_integer() and abs(value) < 1e6:
        return _grouped(f"{value:.0f}")
    if 1e-3 <= abs(value) < 1e6:
        return _grouped(_shortest(_plain(value, digits), value))
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    short = _shortest(mantissa, value, f"e{exponent}")
    return scientific(short, int(exponent))


def scientific(mantissa: str, exponent: int) -> str:
    """`1.3 × 10⁻⁷`; a power of ten alone when the mantissa is one."""
    power = "10" + str(exponent).translate(_SUPERSCRIPT)
    mantissa = mantissa.replace("-", MINUS)
    if mantissa in ("1", f"{MINUS}1", "1.0", f"{MINUS}1.0"):
        return mantissa.partition("1")[0] + power
    return f"{mantissa}{THIN}{TIMES}{THIN}{power}"


def _plain(value: float, digits: int) -> str:
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f}"


def _shortest(text: str, value: float, exponent: str = "") -> str:
    """Without trailing zeros where the number is exact: 0.5, but 0.500 for a rounded 0.4996."""
    if "." not in text:
        return text
    short = text.rstrip("0").rstrip(".")
    return short if float(short + exponent) == value else text


def _grouped(text: str) -> str:
    sign, text = (MINUS, text[1:]) if text.startswith("-") else ("", text)
    whole, dot, rest = text.partition(".")
    if len(whole) > 4:
        whole = f"{int(whole):,}".replace(",", THIN)
    return sign + whole + dot + rest


def interval(low, high, digits: int = 3) -> str:
    """`[1.2, 3.4]`, with a common power of ten written once; never broken over lines."""
    texts = [number(low, digits), number(high, digits)]
    parts = [text.partition(f"{THIN}{TIMES}{THIN}") for text in texts]
    if parts[0][2] and parts[0][2] == parts[1][2]:
        return f"[{parts[0][0]},{NO_BREAK}{parts[1][0]}]{THIN}{TIMES}{THIN}{parts[0][2]}"
    return f"[{texts[0]},{NO_BREAK}{texts[1]}]"


_E_NUMBER = re.compile(r"(?<![\w.])([+-]?\d+(?:\.\d+)?)[eE]([+-]?\d+)(?!\w|\.\d)")
_TIMES = re.compile(r"(?<![\w.])(\d+)x(?!\w)")
_QUOTED = re.compile(r'"([^"]*)"')
_APOSTROPHE = re.compile(r"(?<=\w)'")
_NEGATIVE = re.compile(r"(?<![\w.\-–])-(?=\d)")


def typographic(text: str) -> str:
    """Prose set properly: `1e-7` -> `10⁻⁷`, `-5` -> `−5`, `16x` -> `16×`, `|x|^2` -> `|x|²`, curly
    quotation marks; whitespace folded."""
    text = " ".join(str(text).split())
    text = _E_NUMBER.sub(lambda m: scientific(m[1], int(m[2])), text)
    text = _TIMES.sub(rf"\1{TIMES}", text).replace("^2", "²")
    text = _APOSTROPHE.sub("’", _QUOTED.sub("“\\1”", text))
    return _NEGATIVE.sub(MINUS, text)


_SUPER_RUN = re.compile("10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_BACK = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    MINUS: "$-$", THIN: r"\,", NO_BREAK: "~", TIMES: r"$\times$", "∞": r"$\infty$", "–": "--",
    "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "θ": r"$\theta$", "μ": r"$\mu$",
    "ᵢ": "$_i$", "‖": r"$\|$", "∇": r"$\nabla$", "²": r"$^2$", "·": r"$\cdot$",
}  # fmt: skip


def latex(text: str) -> str:
    """Text with the characters above as LaTeX, everything special escaped."""
    text = str(text)
    for letter in "Lxg":
        text = text.replace(f"{letter}\u0303", f"\0{letter}")
    parts = _SUPER_RUN.split(text)
    out = ["".join(_LATEX.get(c, c) for c in parts[0])]
    for power, rest in zip(parts[1::2], parts[2::2], strict=True):
        out.append(f"$10^{{{power.translate(_BACK)}}}$" + "".join(_LATEX.get(c, c) for c in rest))
    return re.sub("\0(.)", r"$\\tilde{\1}$", "".join(out))
