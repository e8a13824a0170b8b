"""What the Python package, tables and Ray cost over the engine itself; prints the figures of docs/clusters.md.

    python benches/clusters.py [trace] [sweep] [ray] [--rows N] [--ray-rows N] [--ray-rounds N]

Needs the wheel in release (`pip install .`, with pyarrow; ray for `ray`) and `cargo build --release --workspace --bin retrograd`. Everything
is measured in turn, several times, on the shipped model with prompts of five tokens; ratios of medians. Leave the machine alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import retrograd

ROOT = Path(__file__).resolve().parent.parent
ATLAS = ROOT / "models" / "atlas"
COMMAND = os.environ.get("RETROGRAD", str(ROOT / "target" / "release" / "retrograd"))
ROUNDS = 5
# Sequences that a sweep puts into a pass of five tokens: 2,048 tokens' worth.
BATCH = 409


def command(*arguments: object) -> dict:
    done = subprocess.run([COMMAND, *map(str, arguments)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def bench(*arguments: object) -> dict:
    (row,) = command("bench", "trace", "--model", ATLAS, "--length", 5, "--json", *arguments)["rows"]
    return row


COUNTRIES = ["France", "Italy", "Japan", "Egypt", "Peru", "Cuba"]


def table(path: Path, rows: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Five tokens each.
    prompts = [f"The capital of {country} is" for country in COUNTRIES]
    pq.write_table(
        pa.table({
            "id": [f"row-{i}" for i in range(rows)],
            "prompt": [prompts[i % len(prompts)] for i in range(rows)],
            "target": [" Paris"] * rows,
        }),
        path,
        row_group_size=4096,
    )


def trace() -> None:
    """A trace and its loss from Python, and a trace by `bench trace`, which reads nothing."""
    model = retrograd.Gpt2.load(ATLAS)
    ids = model.trace("The capital of France is", target=" Paris").ids
    target = " Paris"
    python, rust = [], []
    for _ in range(ROUNDS):
        times = []
        for _ in range(200):
            start = time.perf_counter()
            model.trace(ids, target=target).loss
            times.append((time.perf_counter() - start) * 1e3)
        python.append(statistics.median(times))
        rust.append(bench("--runs", 200)["median_ms"])
    a, b = statistics.median(python), statistics.median(rust)
    print(f"trace: Python {a:.2f} ms, bench trace {b:.2f} ms: {100 * (a / b - 1):+.1f} %")


def sweep(rows: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "prompts.parquet"
        table(path, rows)
        swept, batched = [], []
        for round_ in range(3):
            out = Path(scratch) / f"out-{round_}"
            swept.append(command("sweep", path, "--out", out, "--model", ATLAS, "--json")["rows_per_second"])
            batched.append(bench("--batch", BATCH, "--runs", 10)["sequences_per_s"])
        a, b = statistics.median(swept), statistics.median(batched)
        print(f"sweep of {rows:,} rows: {a:.0f} a second; bench trace --batch {BATCH}: {b:.0f}: {100 * a / b:.0f} %")


def over_ray(rows: int, rounds: int) -> None:
    """Two actors, and two plain processes, each a half; from loaded cluster to the last file."""
    import ray
    import retrograd.ray

    # Ray starts workers at niceness 15, so that whatever else runs would take from them what it leaves to plain processes.
    os.environ["RAY_worker_niceness"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "prompts.parquet"
        table(path, rows)
        plain, clustered = [], []
        for round_ in range(rounds):
            start = time.perf_counter()
            shards = [
                subprocess.Popen(
                    [COMMAND, "sweep", path, "--out", Path(scratch) / f"plain-{round_}", "--shard", f"{i}/2", "--model", ATLAS],
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )
                for i in (1, 2)
            ]
            assert all(shard.wait() == 0 for shard in shards)
            plain.append(time.perf_counter() - start)
            start = time.perf_counter()
            retrograd.ray.sweep(str(path), Path(scratch) / f"ray-{round_}", model=ATLAS, actors=2)
            clustered.append(time.perf_counter() - start)
            print(f"  round {round_ + 1}: Ray {clustered[-1]:.1f} s, two processes {plain[-1]:.1f} s", flush=True)
        a, b = statistics.median(clustered), statistics.median(plain)
        print(f"Ray, two actors, {rows:,} rows: {a:.1f} s; two processes {b:.1f} s: {100 * (a / b - 1):+.1f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help="trace, sweep, ray [default: all]")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--ray-rows", type=int, default=100_000)
    parser.add_argument("--ray-rounds", type=int, default=3)
    given = parser.parse_args()
    what = given.what or ["trace", "sweep", "ray"]
    if unknown := set(what) - {"trace", "sweep", "ray"}:
        sys.exit(f"error: {', '.join(sorted(unknown))}: none of trace, sweep, ray")
    if "trace" in what:
        trace()
    if "sweep" in what:
        sweep(given.rows)
    if "ray" in what:
        over_ray(given.ray_rows, given.ray_rounds)


if __name__ == "__main__":
    main()
