"""A local cluster of two workers against a single process."""

import os
import signal
import threading
import time

import pytest
import retrograd
from conftest import ATLAS
from test_table import prompts

ray = pytest.importorskip("ray")
pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402

import retrograd.ray  # noqa: E402

ROWS = 480


@pytest.fixture(scope="module")
def cluster():
    # Workers import what this process does.
    here = os.path.dirname(os.path.abspath(__file__))
    os.environ["PYTHONPATH"] = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "prompts.parquet"
    pq.write_table(prompts(ROWS, bad=(5, 250)), path, row_group_size=60)
    return path


@pytest.fixture(scope="module")
def wanted(atlas, table):
    return retrograd.sweep_table(atlas, pq.read_table(table)).to_pylist()


def read(out):
    return pq.read_table(out).sort_by("id").to_pylist()


def test_two_workers_write_what_one_process_does(cluster, table, wanted, tmp_path):
    counts = retrograd.ray.sweep(str(table), tmp_path / "out", model=ATLAS, actors=2, batch_rows=48)
    assert counts == {"rows": ROWS, "rejected": 2}
    assert read(tmp_path / "out") == wanted


def test_a_table_behind_a_url_is_read_and_cut_by_ray(cluster, table, wanted, tmp_path):
    counts = retrograd.ray.sweep(table.as_uri(), tmp_path / "out", model=ATLAS, actors=2, batch_rows=120)
    assert counts == {"rows": ROWS, "rejected": 2}
    assert read(tmp_path / "out") == wanted


def test_a_small_table_is_cut_into_as_many_batches_for_each_actor(cluster, table):
    rows, cut = retrograd.ray._rows(ray, str(table), 2, 100, None, "id")
    sizes = [len(ray.get(block)) for block in rows.get_internal_block_refs()]
    assert cut and sizes == [80] * 6
    assert not retrograd.ray._rows(ray, str(table), 2, 100, 3, None)[1], "blocks that were asked for are Ray's"
    assert retrograd.ray._batches(5, 2, 4096) == 4
    assert retrograd.ray._batches(120_000, 2, 4096) == 30


def test_a_worker_that_is_killed_loses_and_doubles_nothing(cluster, table, wanted, tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    killed = []

    def kill_one():
        # Waits until an actor is at work, in the middle, and kills its process.
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            at_work = sorted(marks.iterdir())
            if len(at_work) >= 3:
                process = int(at_work[-1].name.split("-")[0])
                os.kill(process, signal.SIGKILL)
                killed.append(process)
                return
            time.sleep(0.02)

    killer = threading.Thread(target=kill_one)
    killer.start()
    rows, _ = retrograd.ray._rows(ray, str(table), 2, 30, None, "id")
    rows.map_batches(
        Marked,
        fn_constructor_kwargs={"model": str(ATLAS), "marks": str(marks)},
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=2, max_tasks_in_flight_per_actor=2),
        num_cpus=0.5,
    ).write_parquet(str(tmp_path / "out"))
    killer.join()
    assert len(killed) == 1, "nothing was killed: the run was over too early"
    assert len({mark.name.split("-")[0] for mark in marks.iterdir()}) >= 2, "another process took over"
    assert read(tmp_path / "out") == wanted


class Marked(retrograd.ray.Measure):
    """Says which process is at work."""

    def __init__(self, model, marks):
        super().__init__(model)
        self.marks = marks

    def __call__(self, table):
        with open(os.path.join(self.marks, f"{os.getpid()}-{time.monotonic_ns()}"), "w"):
            return super().__call__(table)


def test_what_is_wrong_is_said_before_anything_runs(cluster, table, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "part").write_text("mine")
    with pytest.raises(retrograd.FormatError, match="not empty"):
        retrograd.ray.sweep(str(table), out, model=ATLAS)
    with pytest.raises(retrograd.FormatError, match="no directory"):
        retrograd.ray.sweep(str(table), tmp_path / "absent" / "out", model=ATLAS)
    nameless, double = tmp_path / "nameless.parquet", tmp_path / "double.parquet"
    pq.write_table(prompts(3).drop_columns(["id"]), nameless)
    pq.write_table(pa.concat_tables([prompts(3), prompts(1)]), double)
    with pytest.raises(retrograd.RequestError, match="no column 'id'"):
        retrograd.ray.sweep(str(nameless), tmp_path / "new", model=ATLAS)
    with pytest.raises(retrograd.RequestError, match="'row-00000' stands in several rows"):
        retrograd.ray.sweep(str(double), tmp_path / "new", model=ATLAS)
    not_a_table, empty = tmp_path / "not_a_table.parquet", tmp_path / "empty.parquet"
    not_a_table.write_text("id,prompt")
    pq.write_table(prompts(3).slice(0, 0), empty)
    with pytest.raises(retrograd.FormatError, match="not_a_table.*cannot be read as Parquet"):
        retrograd.ray.sweep(str(not_a_table), tmp_path / "new", model=ATLAS)
    with pytest.raises(retrograd.FormatError, match="absent.parquet: cannot be read"):
        retrograd.ray.sweep(str(tmp_path / "absent.parquet"), tmp_path / "new", model=ATLAS)
    with pytest.raises(retrograd.RequestError, match="has no rows"):
        retrograd.ray.sweep(str(empty), tmp_path / "new", model=ATLAS)
    assert not (tmp_path / "new").exists()
