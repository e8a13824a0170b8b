"""Tables of prompts through a model, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Optional, Sequence, Union

from retrograd import _native
from retrograd._errors import RequestError

if TYPE_CHECKING:
    from retrograd import Gpt2

REJECTED = "rejected"


def sweep_table(
    model: Gpt2,
    table: Any,
    *,
    id_column: str = "id",
    prompt_column: str = "prompt",
    target_column: str = "target",
    next_token: bool = False,
    first_token: bool = False,
    prefix: str = "",
    lens: Optional[Union[str, Sequence[str]]] = None,
) -> Any:
    """Measures every row of a ``pyarrow.Table``: what ``retrograd sweep`` writes for a file.

    The result has the table's rows and columns, in their order, and the measurements beside them; ``rejected`` says why a row
    could not be traced (its measurements are missing), and is missing where it could. Needs ``pyarrow``
    (``pip install retrograd[arrow]``).
    """
    pa = _pyarrow()
    if not isinstance(table, pa.Table):
        raise RequestError(f"table: is {type(table).__name__}, not a pyarrow.Table")
    sites = None if lens is None else lens if isinstance(lens, str) else ",".join(lens)
    written = _native.written_columns(prefix, sites)
    for taken in (REJECTED, *written):
        if taken in table.column_names:
            raise RequestError(f"table: has a column '{taken}', which is to be written: rename it, or give prefix=")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as writer:
        writer.write_table(table)
    found, rejected = model._sweep(
        sink.getvalue().to_pybytes(),
        id=id_column,
        prompt=prompt_column,
        target=target_column,
        next_token=next_token,
        first_token=first_token,
        prefix=prefix,
        lens=sites,
    )
    measured = pa.ipc.open_stream(found).read_all()
    reasons: List[Optional[str]] = [None] * table.num_rows
    for row, text in rejected:
        reasons[row] = text
    # Where each row's measurements stand among those that were made.
    places: List[Optional[int]] = []
    traced = 0
    for reason in reasons:
        places.append(traced if reason is None else None)
        traced += reason is None
    return _joined(pa, table, measured, written, places, reasons, id_column)


def _joined(
    pa: Any,
    table: Any,
    measured: Any,
    written: Sequence[str],
    places: Sequence[Optional[int]],
    reasons: Sequence[Optional[str]],
    id_column: str,
) -> Any:
    names: List[str] = []
    arrays: List[Any] = []
    if id_column not in table.column_names:
        names.append(id_column)
        arrays.append(pa.array(range(table.num_rows), pa.int64()))
    for name in table.column_names:
        names.append(name)
        arrays.append(table.column(name))
    index = pa.array(places, pa.int64())
    for name in written:
        names.append(name)
        arrays.append(measured.column(name).combine_chunks().take(index))
    names.append(REJECTED)
    arrays.append(pa.array(reasons, pa.string()))
    return pa.table(arrays, names=names)


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise ImportError("tables need pyarrow: pip install 'retrograd[arrow]'") from error
    return pyarrow
