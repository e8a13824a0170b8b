"""Runs Retrograd and its competitors on the same work, in turn, and prints one table.

    python benches/peers/compare.py [--only WORK,…] [--rounds N] [--lengths 64,256] [--json FILE] [--update-docs]

`--device cuda` lets PyTorch compute on a GPU; Retrograd uses the best adapter there is.

Work: trace, profile, gemm, start, generate, heads, train, xl. run.sh installs and builds what this needs. Each round runs every program
once, one after the other; a program reports the median of its own runs, and a ratio is the median over the rounds of
ours by theirs. Beside it stands the ratio of the fastest runs of all rounds: on a machine that others use it is nearer the
truth, because programs that keep several threads in step lose more to a busy core than others. Peak memory is the largest resident set of the whole process.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

from goals import update

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "benches" / "peers"
WORKPLACE = ROOT / "target" / "peers"
RETROGRAD = os.environ.get("RETROGRAD", str(ROOT / "target" / "release" / "retrograd"))
OURS = "retrograd"
# A prompt and a target by id, which every program understands.
IDS, TARGET = "1,2,3,4,5", "11"


class Program:
    """A program and how its output becomes one result."""

    def __init__(self, name, command, read, environment=None):
        self.name, self.command, self.read, self.environment = name, command, read, environment or {}

    def run(self):
        """Its result with `wall_ms` and `peak_rss_mb`; None when it failed, with a word on stderr."""
        started = time.perf_counter()
        with open(WORKPLACE / "stderr.txt", "w+", encoding="utf-8") as errors:
            try:
                child = subprocess.Popen(
                    self.command, stdout=subprocess.PIPE, stderr=errors, env={**os.environ, **self.environment}, cwd=ROOT
                )
            except OSError as error:
                print(f"{self.name}: {error}", file=sys.stderr)
                return None
            output = child.stdout.read().decode("utf-8", "replace")
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            errors.seek(0)
            complaint = errors.read().strip().splitlines()
        wall = (time.perf_counter() - started) * 1e3
        if child.returncode != 0:
            print(f"{self.name}: exit {child.returncode}: {complaint[-1] if complaint else ''}", file=sys.stderr)
            return None
        result = self.read(output, wall)
        # Linux counts in KiB.
        result["peak_rss_mb"] = round(usage.ru_maxrss / 1024, 1)
        return result


def last_line(output, _):
    return json.loads(output.strip().splitlines()[-1])


def first_row(output, _):
    return dict(json.loads(output)["rows"][0])


def heads(output, _):
    """The effects' row, with what the ranking took beside it."""
    _, ranking, effects = json.loads(output)["rows"]
    return {**effects, "ranking_ms": ranking["median_ms"], "ranking_times_cheaper": ranking["times_cheaper"]}


def whole_process(output, wall):
    document = json.loads(output)
    answer = document["answer"]
    return {
        "median_ms": round(wall, 1),
        "min_ms": round(wall, 1),
        "loss": document["loss"],
        "answer": answer["id"] if isinstance(answer, dict) else answer,
        "strongest": document["heads"][0]["reversed_norm"],
    }


def gemm_rate(output, _):
    """Our products of the linear layers' forward pass as one rate, as the competitors report them."""
    document = json.loads(output)
    sites = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    rows = [row for row in document["rows"] if row["site"] in sites and row["precision"] == "f32"]
    median = sum(row["median_ms"] for row in rows)
    operations = sum(row["gflops"] * row["median_ms"] for row in rows)
    fastest = sum(row["min_ms"] for row in rows)
    return {"median_ms": round(median, 3), "min_ms": round(fastest, 3), "gflops": round(operations / median, 2)}


def best_rate(output, _):
    document = json.loads(output)
    best = max(document["rows"], key=lambda row: row["gflops"])
    return {"median_ms": best["median_ms"], "min_ms": best["min_ms"], "gflops": document["best_gemm_gflops"]}


def script(name, *arguments):
    return [sys.executable, str(HERE / name), *map(str, arguments)]


def ours(*arguments):
    return [RETROGRAD, "bench", *map(str, arguments), "--json"]


def rust_peer(feature, *arguments):
    """A competitor written in Rust, built on its first use; None where that fails."""
    target = WORKPLACE / "rust"
    binary = target / "release" / f"{feature}_peer"
    if not binary.exists():
        if not shutil.which("cargo"):
            print(f"{feature}: there is no cargo to build it, left out", file=sys.stderr)
            return None
        print(f"building {feature} …", file=sys.stderr)
        command = ["cargo", "build", "--release", "--quiet", "--features", feature, "--bin", f"{feature}_peer"]
        built = subprocess.run(command, cwd=HERE / "rust", env={**os.environ, "CARGO_TARGET_DIR": str(target)}, check=False)
        if built.returncode != 0:
            print(f"{feature}: does not build here, left out", file=sys.stderr)
            return None
    return [str(binary), *map(str, arguments)]


def llmc(tokens, runs):
    """llm.c, where LLMC_DIR names its source."""
    source = os.environ.get("LLMC_DIR")
    if not source:
        return None
    binary = WORKPLACE / "llmc_trace"
    flags = ["-O3", "-march=native", "-ffast-math", "-fopenmp", "-w", "-I", source]
    command = [os.environ.get("CC", "cc"), *flags, "-o", str(binary), str(HERE / "llmc_trace.c"), "-lm"]
    if subprocess.run(command, check=False).returncode != 0:
        print("llm.c: does not compile here, left out", file=sys.stderr)
        return None
    return [str(binary), str(tokens), str(runs), str(WORKPLACE)]


def model_directory():
    """A directory of GPT-2 124M's shape with random weights, made once."""
    directory = WORKPLACE / "gpt2-random"
    if not (directory / "model.safetensors").exists():
        subprocess.run(script("make_model.py", directory), check=True, stderr=subprocess.DEVNULL)
    return str(directory)


def programs(work, length, runs):
    """Who does a piece of work; ours first."""
    usual = ["--shape", "gpt2", "--length", length, "--runs", runs]
    if work == "trace":
        yield Program(OURS, ours("trace", *usual), first_row)
        yield Program(f"{OURS}, f16", ours("trace", *usual, "--precision", "f16"), first_row)
        yield Program("PyTorch, no weight gradients", script("torch_trace.py", length, runs, "factors"), last_line)
        yield Program("PyTorch, the authors' way", script("torch_trace.py", length, runs, "authors"), last_line)
        if length == 64:
            if command := rust_peer("candle", "trace", length, runs):
                yield Program("candle, forward and backward", command, last_line)
            if command := llmc(length, runs):
                yield Program("llm.c, forward and backward", command, last_line)
    elif work == "gemm":
        kernels = ["--quick", "--shape", "gpt2", "--length", length, "--kernels", "gemm/*/NN/f32"]
        yield Program(OURS, ours("kernels", *kernels), gemm_rate)
        if command := rust_peer("candle", "gemm", length, runs):
            yield Program("candle (CPU)", command, last_line)
        if command := rust_peer("burn", length, runs):
            yield Program("burn-wgpu", command, last_line)
    elif work in ("start, atlas", "start, 124M"):
        directory = str(ROOT / "models" / "atlas") if work == "start, atlas" else model_directory()
        command = [RETROGRAD, "trace", "--model", directory, "--ids", IDS, "--target-id", TARGET, "--json"]
        yield Program(OURS, command, whole_process)
        cold = {"MESA_SHADER_CACHE_DISABLE": "true", "__GL_SHADER_DISK_CACHE": "0"}
        yield Program(f"{OURS}, no shader cache", command, whole_process, cold)
        yield Program("PyTorch + transformers", script("torch_start.py", "transformers", directory, IDS, TARGET), whole_process)
        yield Program("PyTorch, hand-written", script("torch_start.py", "handwritten", directory, IDS, TARGET), whole_process)
    elif work == "generate":
        new = 32
        generate = ["--shape", "gpt2", "--length", length, "--tokens", new, "--runs", 2]
        yield Program(f"{OURS}, f16", ours("generate", *generate, "--precision", "f16"), first_row)
        yield Program(OURS, ours("generate", *generate), first_row)
        yield Program("PyTorch, f32", script("torch_generate.py", length, new, "float32"), last_line)
        yield Program("PyTorch, bf16", script("torch_generate.py", length, new, "bfloat16"), last_line)
    elif work == "heads":
        yield Program(OURS, ours("heads", "--shape", "gpt2", "--length", length, "--runs", 2), heads)
        yield Program("PyTorch, a forward pass a head", script("torch_heads.py", length, 2), last_line)
    elif work == "train":
        yield Program(OURS, ours("train", "--shape", "gpt2", "--batch", 4, "--length", length, "--runs", runs), first_row)
        yield Program("PyTorch", script("torch_train.py", 4, length, runs), last_line)
    elif work == "profile":
        yield Program(OURS, ours("trace", *usual, "--breakdown"), first_row)
        kernels = ["--quick", "--shape", "gpt2", "--length", length, "--kernels", "gemm/*/f32"]
        yield Program(f"{OURS}, best product", ours("kernels", *kernels), best_rate)
    elif work == "xl":
        xl = ["--shape", "gpt2-xl", "--precision", "f16", "--length", 32, "--runs", 1]
        yield Program(f"{OURS}, f16", ours("trace", *xl), first_row)


def measure(work, length, rounds, runs):
    """Rows of one piece of work."""
    contestants = list(programs(work, length, runs))
    results = {program.name: [] for program in contestants}
    for number in range(rounds):
        for program in contestants:
            if sys.stderr.isatty():
                print(f"\r{work}, T = {length}, round {number + 1} of {rounds}: {program.name:<40}", end="", file=sys.stderr)
            results[program.name].append(program.run())
    if sys.stderr.isatty():
        print("\r" + " " * 100 + "\r", end="", file=sys.stderr)
    agree(work, results)
    base = results[contestants[0].name]
    rows = []
    for program in contestants:
        done = [result for result in results[program.name] if result]
        if not done:
            rows.append({"work": work, "length": length, "program": program.name, "failed": True})
            continue
        pairs = [(a, b) for a, b in zip(base, results[program.name]) if a and b]
        row = {
            "work": work,
            "length": length,
            "program": program.name,
            "median_ms": round(statistics.median(result["median_ms"] for result in done), 3),
            "min_ms": round(min(result["min_ms"] for result in done), 3),
            "peak_rss_mb": round(statistics.median(result["peak_rss_mb"] for result in done), 1),
            "rounds": len(done),
            "ratio": round(statistics.median(a["median_ms"] / b["median_ms"] for a, b in pairs), 3) if pairs else None,
            "min_ratio": round(fastest(base) / fastest(results[program.name]), 3) if pairs else None,
            "memory_ratio": round(statistics.median(a["peak_rss_mb"] / b["peak_rss_mb"] for a, b in pairs), 3) if pairs else None,
        }
        for figure in (
            "gflops", "tokens_per_s", "peak_device_mb", "gemm_gflops", "gemm_time_share", "times_cheaper", "ranking_ms", "ranking_times_cheaper",
        ):
            values = [result[figure] for result in done if figure in result]
            if values:
                row[figure] = round(statistics.median(values), 3)
        rows.append(row)
    return rows


def fastest(results):
    return min(result["min_ms"] for result in results if result)


def agree(work, results):
    """Whoever printed a trace's result must have printed the same one: only the same work is compared."""
    printed = [(name, result) for name, all in results.items() for result in all if result and "loss" in result]
    for name, result in printed:
        _, first = printed[0]
        close = all(abs(result[f] - first[f]) <= 1e-4 * abs(first[f]) for f in ("loss", "strongest"))
        if not close or result["answer"] != first["answer"]:
            sys.exit(f"error: {work}: {name} printed {result}, {printed[0][0]} printed {first}")


def machine():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        model = platform.processor()
    return f"{os.cpu_count()} cores, {model or platform.machine()}"


def table(rows):
    header = ["work", "T", "program", "ms", "ours/theirs", "fastest", "ours/theirs", "peak MB", "ours/theirs", "rate"]
    lines = [header]
    for row in rows:
        if row.get("failed"):
            lines.append([row["work"], str(row["length"]), row["program"], "failed", "", "", "", "", "", ""])
            continue
        rate = f"{row['gflops']:.1f} GFLOP/s" if "gflops" in row else f"{row['tokens_per_s']:.1f} tokens/s" if "tokens_per_s" in row else ""
        number = lambda value: "" if value is None else f"{value:.2f}"
        lines.append([
            row["work"], str(row["length"]), row["program"], f"{row['median_ms']:.1f}", number(row["ratio"]),
            f"{row['min_ms']:.1f}", number(row["min_ratio"]), f"{row['peak_rss_mb']:.0f}", number(row["memory_ratio"]), rate,
        ])
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = [0, 2]
    return "\n".join(
        "  ".join(cell.ljust(w) if i in text else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))).rstrip()
        for line in lines
    )


def main():
    every = ["trace", "profile", "gemm", "start", "generate", "heads", "train", "xl"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(every), help="comma-separated: " + ", ".join(every))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=3, help="runs of a program in a round, after its first")
    parser.add_argument("--lengths", default="64,256,1024", help="numbers of tokens of the traces")
    parser.add_argument("--device", default="cpu", help="where PyTorch computes, as it names it: cuda, say")
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON document")
    parser.add_argument("--update-docs", action="store_true", help="write the tables of docs/performance.md")
    options = parser.parse_args()
    os.environ["PEER_DEVICE"] = options.device
    chosen = options.only.split(",")
    if unknown := [work for work in chosen if work not in every]:
        parser.error(f"there is no work '{unknown[0]}'; choose from {', '.join(every)}")
    try:
        lengths = [int(length) for length in options.lengths.split(",")]
    except ValueError:
        parser.error(f"--lengths: '{options.lengths}' is not a list of numbers")
    if not pathlib.Path(RETROGRAD).exists():
        sys.exit(f"error: there is no {RETROGRAD}: run benches/peers/run.sh, which builds it")
    WORKPLACE.mkdir(parents=True, exist_ok=True)

    plan = []
    for work in chosen:
        if work == "trace":
            plan += [("trace", length) for length in lengths]
        elif work == "profile":
            plan.append(("profile", 128))
        elif work == "start":
            plan += [("start, atlas", 5), ("start, 124M", 5)]
        else:
            plan.append((work, 32 if work in ("xl", "heads") else 64))
    doctor = json.loads(subprocess.run([RETROGRAD, "doctor", "--json"], capture_output=True, check=False).stdout or "{}")
    chosen_adapter = doctor.get("chosen", {})
    document = {
        "schema": "retrograd-peers/1",
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "adapter": f"{str(chosen_adapter.get('name')).split(' (')[0]}, {str(chosen_adapter.get('driver_info')).split(' (')[0]}",
        "load": 0.0,
        "rows": [],
    }
    for work, length in plan:
        rounds = 1 if work in ("xl", "profile") else options.rounds
        document["rows"] += measure(work, length, rounds, options.runs)
        document["load"] = max(document["load"], round(os.getloadavg()[0], 1))
        # After each piece: a run that is broken off keeps what it has.
        if options.json:
            pathlib.Path(options.json).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        if options.update_docs:
            update(document)
    print(table(document["rows"]))
    print(f"\n{document['machine']}, load {document['load']}; {document['adapter']}; {document['date']}")


if __name__ == "__main__":
    main()
