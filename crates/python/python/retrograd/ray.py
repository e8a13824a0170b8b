"""Tables of any size over a Ray cluster, from Parquet to Parquet.

>>> import retrograd.ray
>>> retrograd.ray.sweep("prompts.parquet", "results", model="models/atlas", actors=2)  # doctest: +SKIP

Ray reads and writes the tables, starts the actors, moves blocks of rows to them, and does again what was on a worker that
died; nothing of a scheduler is here. An actor holds one model. What a row's measurements are does not depend on the rows
beside it, so that any division gives the same bits. Install with ``pip install 'retrograd[ray]'``.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Tuple, Union

from retrograd import Gpt2
from retrograd._errors import FormatError, RequestError
from retrograd._table import REJECTED, sweep_table

__all__ = ["Measure", "sweep"]

BATCH_ROWS = 4096
# Rows of a table that may be cut anew before the work begins, which takes all of it into the cluster's memory.
SMALL_TABLE = 1 << 20


class Measure:
    """What ``Dataset.map_batches`` makes an actor of: one model, and tables through it.

    >>> import ray
    >>> table = ray.data.read_parquet("s3://prompts")  # doctest: +SKIP
    >>> table.map_batches(
    ...     retrograd.ray.Measure, fn_constructor_kwargs={"model": "/models/gpt2"}, batch_format="pyarrow",
    ...     batch_size=4096, compute=ray.data.ActorPoolStrategy(size=8), num_gpus=1,
    ... ).write_parquet("s3://results")  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Union[str, "os.PathLike[str]"],
        *,
        precision: str = "f32",
        adapter: Optional[str] = None,
        **columns: Any,
    ) -> None:
        self._columns = columns
        self._model = Gpt2.load(model, precision=precision, adapter=adapter)  # type: ignore[arg-type]

    def __call__(self, table: Any) -> Any:
        return sweep_table(self._model, table, **self._columns)


def sweep(
    table: Union[str, Sequence[str]],
    out: Union[str, "os.PathLike[str]"],
    *,
    model: Union[str, "os.PathLike[str]"],
    actors: Union[int, Tuple[int, int]] = 1,
    precision: str = "f32",
    adapter: Optional[str] = None,
    num_cpus: float = 0.5,
    num_gpus: Optional[float] = None,
    batch_rows: int = BATCH_ROWS,
    blocks: Optional[int] = None,
    check_ids: bool = True,
    **columns: Any,
) -> Dict[str, int]:
    """Measures every row of Parquet files and writes Parquet files to ``out``, a new directory (or a URL that Ray writes to).

    ``actors`` is a number of models, or the least and the most of them; ``num_gpus`` is what each takes of a node, ``num_cpus``
    likewise: all of them together must leave a CPU for reading and writing, without which Ray waits for ever. Each gets
    ``batch_rows`` rows at a time. Tables of up to a million rows that lie on this machine are read by this process, others by
    the cluster, in ``blocks`` parts if that is given.

    The table needs an id column, with every id once: rows have no other name once they are distributed. ``check_ids`` reads
    all of them first, to this process: about 20 bytes a row. ``columns`` are those of ``retrograd.sweep_table``. Rows that
    cannot be traced come with the reason in ``rejected``. Models are loaded from a path that every node has.

    Connects to the cluster that ``ray.init()`` finds, or that is connected already. Returns the number of rows and of rejected
    ones. A worker that dies takes down nothing but its batches, which are done again.
    """
    ray = _ray()
    local = "://" not in os.fspath(out)
    if local:
        directory = Path(out)
        if directory.exists() and any(directory.iterdir()):
            raise FormatError(f"{directory}: already exists and is not empty: give the name of a new directory")
        if not directory.resolve().parent.is_dir():
            raise FormatError(f"{directory}: cannot be written: there is no directory {directory.resolve().parent}")
    if not ray.is_initialized():
        ray.init()
    most = actors if isinstance(actors, int) else actors[1]
    least = actors if isinstance(actors, int) else actors[0]
    cpus = float(ray.cluster_resources().get("CPU", 0))
    if least * num_cpus + 1 > cpus:
        warnings.warn(
            f"{least} actors of {num_cpus} CPUs leave none of the cluster's {cpus:g} for reading and writing: "
            "unless it grows, nothing will happen; lower actors= or num_cpus=",
            stacklevel=2,
        )
    files = table if isinstance(table, str) else list(table)
    rows, cut = _rows(ray, files, most, batch_rows, blocks, str(columns.get("id_column", "id")) if check_ids else None)
    measured = rows.map_batches(
        Measure,
        fn_constructor_kwargs={"model": os.fspath(model), "precision": precision, "adapter": adapter, **columns},
        batch_format="pyarrow",
        # Blocks that were cut for it are batches.
        batch_size=None if cut else batch_rows,
        # Ray replaces an actor that is lost, and does again what it had: that is its default for such pools.
        # One batch at work and one waiting: of more, an actor that starts first would take what the others are there for.
        compute=ray.data.ActorPoolStrategy(min_size=least, max_size=most, max_tasks_in_flight_per_actor=2),
        num_cpus=num_cpus,
        num_gpus=num_gpus,
    )
    target = str(Path(out).resolve()) if local else os.fspath(out)
    measured.write_parquet(target)
    if local:
        import pyarrow.dataset

        column = pyarrow.dataset.dataset(target, format="parquet").to_table(columns=[REJECTED]).column(REJECTED)
        return {"rows": len(column), "rejected": len(column) - column.null_count}
    written = ray.data.read_parquet(target, columns=[REJECTED])
    counts = written.map_batches(_count, batch_format="pyarrow")
    return {"rows": int(counts.sum("rows") or 0), "rejected": int(counts.sum("rejected") or 0)}


def _count(batch: Any) -> Any:
    import pyarrow as pa

    column = batch.column(REJECTED)
    return pa.table({"rows": [len(column)], "rejected": [len(column) - column.null_count]})


def _rows(
    ray: Any, files: Any, actors: int, batch_rows: int, blocks: Optional[int], id_column: Optional[str]
) -> Tuple[Any, bool]:
    """The table as Ray's, its ids checked where a column is named, and whether its blocks are batches.

    A small table of this machine is read here and handed out in batches: workers that read and cut it would start for
    longer than they work, and what Ray reads from a file of some megabytes is one block, whatever it was asked for, so
    that one actor would have all of it.
    """
    import pyarrow.dataset

    names = [files] if isinstance(files, str) else files

    def read() -> Any:
        return ray.data.read_parquet(files, override_num_blocks=blocks or 4 * actors)

    if any("://" in name for name in names):
        rows = read()
        if id_column is None:
            return rows, False
        schema = rows.schema()
        _need_column([] if schema is None else schema.names, id_column)
        counted = _check_ids(_distributed(rows, id_column), id_column)
        if blocks or counted > SMALL_TABLE:
            return rows, False
        return rows.repartition(_batches(counted, actors, batch_rows)), True
    try:
        here = pyarrow.dataset.dataset(files, format="parquet", partitioning="hive")
        counted = here.count_rows()
        cut = not blocks and 0 < counted <= SMALL_TABLE
        if id_column is not None:
            _need_column(here.schema.names, id_column)
        table = here.to_table(columns=None if cut else [] if id_column is None else [id_column])
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise FormatError(f"{', '.join(names)}: cannot be read as Parquet: {error}") from error
    if id_column is not None:
        _check_ids(table.column(id_column), id_column)
    if not cut:
        return read(), False
    parts = _batches(counted, actors, batch_rows)
    ends = [counted * part // parts for part in range(parts + 1)]
    return ray.data.from_arrow([table.slice(a, b - a) for a, b in zip(ends, ends[1:]) if a < b]), True


def _batches(rows: int, actors: int, batch_rows: int) -> int:
    """As many batches for each actor as for the others, and two at least, none of more than ``batch_rows``."""
    return actors * max(2, -(-rows // (batch_rows * actors)))


def _need_column(names: Sequence[str], id_column: str) -> None:
    if id_column not in names:
        raise RequestError(
            f"table: has no column '{id_column}', by which rows are known once they are distributed; "
            f"its columns are {', '.join(names)}"
        )


def _check_ids(ids: Any, id_column: str) -> int:
    """The table has rows, and each an id of its own; how many there are."""
    import pyarrow.compute as pc

    if len(ids) == 0:
        raise RequestError("table: has no rows: there is nothing to do")
    if ids.null_count:
        raise RequestError(f"table: {ids.null_count} of its {len(ids)} rows have no '{id_column}'")
    counts = pc.value_counts(ids.combine_chunks())
    most = pc.max(counts.field("counts")).as_py()
    if most > 1:
        twice = counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"].as_py()
        raise RequestError(f"table: the id {twice!r} stands in several rows: give each row one of its own")
    return len(ids)


def _distributed(rows: Any, column: str) -> Any:
    """A column of a table that is elsewhere, read by Ray to this process."""
    import pyarrow as pa

    batches = rows.select_columns([column]).iter_batches(batch_format="pyarrow", batch_size=None)
    return pa.chunked_array([chunk for batch in batches for chunk in batch.column(column).chunks])


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError("clusters need Ray: pip install 'retrograd[ray]'") from error
    return ray
