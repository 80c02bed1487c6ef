"""The one error of this package: a sentence for a person, on one line."""

from __future__ import annotations


class AnalysisError(ValueError):
    """Something asked of the results cannot be answered; the text says what and what to do."""


class NotDone(AnalysisError):
    """It rests on runs that are not done yet."""


def nearest(name: str, known) -> str:
    """`" (did you mean 'topk'?)"` when a known name is close to `name`, else an empty string."""
    import difflib

    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
