"""Tables in memory: what the command writes for a file."""

import json
import subprocess

import pytest
import retrograd
from conftest import ATLAS

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402

COUNTRIES = ["France", "Italy", "Spain", "Japan", "China", "Egypt", "Greece", "Norway", "Cuba", "Peru"]


def prompts(rows, bad=()):
    templates = ["The capital of {} is", "{} is a country in", "Q: {}\nA:"]
    return pa.table(
        {
            "id": [f"row-{row:05}" for row in range(rows)],
            "prompt": ["" if row in bad else templates[row % 3].format(COUNTRIES[row % 10]) for row in range(rows)],
            "target_id": [row % 300 for row in range(rows)],
            "weight": [row / 7 for row in range(rows)],
        }
    )


def test_the_command_measures_the_same_bits(atlas, command, tmp_path):
    table = prompts(40, bad=(3, 17))
    measured = retrograd.sweep_table(atlas, table, lens="mlp.c_proj.delta")
    assert measured.num_rows == 40
    rejected = measured.filter(pa.compute.is_valid(measured["rejected"]))
    assert rejected["id"].to_pylist() == ["row-00003", "row-00017"]
    assert rejected["loss"].null_count == 2 and "empty" in rejected["rejected"][0].as_py()

    pq.write_table(table, tmp_path / "table.parquet")
    run = [command, "sweep", str(tmp_path / "table.parquet"), "--out", str(tmp_path / "out"), "--model", str(ATLAS)]
    run += ["--part-rows", "16", "--lens", "mlp.c_proj.delta"]
    subprocess.run(run, check=True, capture_output=True)
    written = pa.concat_tables(pq.read_table(path) for path in sorted((tmp_path / "out").glob("*.parquet")))
    traced = measured.filter(pa.compute.is_null(measured["rejected"])).drop_columns(["rejected"])
    assert traced.to_pylist() == written.to_pylist()
    rejects = [json.loads(line) for path in (tmp_path / "out").glob("*.jsonl") for line in path.read_text().splitlines()]
    assert sorted(row["row"] for row in rejects) == [3, 17]


def test_a_row_has_what_its_trace_has(atlas):
    row = retrograd.sweep_table(atlas, pa.table({"prompt": ["The capital of France is"], "target": [" Paris"]})).to_pylist()[0]
    trace = atlas.trace("The capital of France is", target=" Paris")
    assert (row["id"], row["answer"], row["tokens"], row["rejected"]) == (0, " Paris", 5, None)
    assert row["loss"] == pytest.approx(trace.loss, rel=1e-6)
    for head in trace.attention()["heads"]:
        assert row["reversed_norm"][head["layer"]][head["head"]] == pytest.approx(head["reversed_norm"], rel=1e-5)


def test_tables_that_cannot_be_worked_with(atlas):
    with pytest.raises(retrograd.RequestError, match="no column 'prompt' or 'ids'"):
        retrograd.sweep_table(atlas, pa.table({"text": ["a"]}))
    with pytest.raises(retrograd.RequestError, match="'loss'"):
        retrograd.sweep_table(atlas, pa.table({"prompt": ["a"], "target_id": [1], "loss": [0.0]}))
    with pytest.raises(retrograd.RequestError, match="not a pyarrow.Table"):
        retrograd.sweep_table(atlas, [{"prompt": "a"}])
    assert retrograd.sweep_table(atlas, prompts(4).slice(0, 0)).num_rows == 0
