"""Documents that show themselves in notebooks; everywhere else they are dictionaries."""

from __future__ import annotations

import html
import os
import tempfile
from typing import TYPE_CHECKING, Any, Dict, Iterable, Sequence

from retrograd._errors import RetrogradError

if TYPE_CHECKING:
    from retrograd import Trace

# Rows of a table in a notebook; the document has all of them.
ROWS = 12


class Report(Dict[str, Any]):
    """A document of the command, as ``json.loads`` reads it."""

    def __repr__(self) -> str:
        schema = self.get("schema")
        # Thousands of numbers are no answer in a prompt; what there is, is one.
        return f"<{schema}: {', '.join(self)}>" if schema else super().__repr__()


class AttentionReport(Report):
    """``retrograd-attention/1``: every head by the size of its Reversed Attention."""

    def _repr_html_(self) -> str:
        return _heads_html(self["heads"], f"loss {self['loss']:.4f}")


class MediationReport(Report):
    """``retrograd-mediate/1``: what silencing each head does to the target's probability."""

    def _repr_html_(self) -> str:
        heads = sorted(self["heads"], key=lambda head: float(head["indirect_effect"]))
        rows = [(_head(head), f"{head['indirect_effect']:+.4f}") for head in heads[:ROWS]]
        target = self["target"]["text"] or self["target"]["id"]
        mean = self["target_probability"]["mean"]
        title = f"P({target!r} | head silenced) − P({target!r}), which is {mean:.4f}"
        return _table(title, ("head", "effect"), rows, len(heads))


class LensReport(Report):
    """``retrograd-lens/1``: vectors of every layer and position, read as tokens."""

    _svg: str = ""

    def svg(self) -> str:
        """The tables as an image, the one that ``retrograd lens --svg`` draws."""
        return self._svg

    def _repr_html_(self) -> str:
        return f'<div style="overflow-x:auto;background:#fff">{self._svg}</div>'


class Page:
    """One HTML file that holds script, style and data, and asks nothing of the network."""

    def __init__(self, document: str) -> None:
        self.html = document

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Writes the file, whole or not at all."""
        folder = os.path.dirname(os.path.abspath(path))
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".retrograd-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(self.html)
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise

    def __repr__(self) -> str:
        return f"<Page, {len(self.html) / 1e6:.1f} MB: .save(path) writes it, a notebook shows it>"

    def _repr_html_(self) -> str:
        # In a frame of its own: its policy lets nothing out, and the notebook's style stays out of it.
        return (
            '<iframe sandbox="allow-scripts allow-downloads" style="width:100%;height:42rem;border:1px solid #8884" '
            f'srcdoc="{html.escape(self.html)}"></iframe>'
        )


def _umask() -> int:
    mask = os.umask(0o22)
    os.umask(mask)
    return mask


def trace_html(trace: Trace) -> str:
    """A trace's page, its overview and heads; below, folded, the strongest heads as a table for viewers without frames."""
    table = heads_html(trace)
    try:
        page = trace.page(views=["heads"])
    except RetrogradError:
        # Something was not captured, or the trace came from a file.
        return table
    return f"{page._repr_html_()}<details><summary>Strongest heads</summary>{table}</details>"


def heads_html(trace: Trace) -> str:
    """A trace's strongest heads."""
    prompt = " ".join(f"<code>{html.escape(token)}</code>" for token in trace.tokens)
    title = f"loss {trace.loss:.4f}"
    if not any(name.endswith("attn.reversed") for name in trace):
        return f"<p>{prompt}</p><p>{title}</p>"
    return f"<p>{prompt}</p>" + _heads_html(trace.attention()["heads"], title)


def _heads_html(heads: Sequence[Dict[str, Any]], title: str) -> str:
    def size(value: Any) -> str:
        return "" if value is None else f"{value:.4g}"

    rows = [(_head(head), size(head["reversed_norm"]), size(head.get("pattern_norm"))) for head in heads[:ROWS]]
    return _table(title, ("head", "‖R‖", "‖A‖"), rows, len(heads))


def _head(head: Dict[str, Any]) -> str:
    return f"L{head['layer']}H{head['head']}"


def _table(title: str, names: Iterable[str], rows: Sequence[Sequence[str]], of: int) -> str:
    def line(cell: str, values: Iterable[str]) -> str:
        return "<tr>" + "".join(f"<{cell}>{html.escape(value)}</{cell}>" for value in values) + "</tr>"

    more = f"<p>… and {of - len(rows)} more</p>" if of > len(rows) else ""
    body = "".join(line("td", row) for row in rows)
    return (
        f"<table><caption>{html.escape(title)}</caption><thead>{line('th', names)}</thead>"
        f"<tbody>{body}</tbody></table>{more}"
    )
