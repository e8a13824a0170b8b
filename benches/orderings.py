"""How much of every task of the atlas corpus is left when only the first heads of an ordering speak: areas under the curves.

    python benches/orderings.py [--model DIR] [--prompts questions,sentences] [--out FILE.csv]

Questions are prompts with five demonstrations, sentences the first template of the corpus for each fact, without any. Runs
`retrograd perturb` (`cargo build --release --workspace --bin retrograd`, or $RETROGRAD) once for each of the 30 tasks and kind of prompt;
prints what the orderings have on average over the tasks that the whole model solves.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ATLAS = ROOT / "models" / "atlas"
COMMAND = os.environ.get("RETROGRAD", str(ROOT / "target" / "release" / "retrograd"))
ORDERINGS = ["reversed", "pattern", "attribution", "mediation", "index", "random"]
# Share of the questions that a model must answer for a task to count.
SOLVED = 0.8


def sentences() -> dict[str, tuple[str, str]]:
    """What stands before and after the input in the first sentence of every task."""
    found = {}
    for fact in json.loads((ATLAS / "corpus" / "facts.json").read_text(encoding="utf-8")):
        task, prompt = fact["relation"], fact["prompt"].removeprefix("<|endoftext|>")
        if task in found:
            continue
        inputs = {entry["input"] for entry in json.loads((ATLAS / "tasks" / f"{task}.json").read_text(encoding="utf-8"))}
        for word in sorted(inputs, key=len, reverse=True):
            at = prompt.rfind(f" {word}")
            rest = prompt[at + 1 + len(word):]
            if at >= 0 and not rest[:1].isalnum():
                found[task] = (prompt[:at], rest)
                break
    return found


def perturb(model: Path, task: str, *arguments: str) -> dict:
    command = [COMMAND, "perturb", str(ATLAS / "tasks" / f"{task}.json"), "--model", str(model), "--json"]
    done = subprocess.run([*command, "--orderings", ",".join(ORDERINGS), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{task}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ATLAS)
    parser.add_argument("--prompts", default="questions,sentences")
    parser.add_argument("--out", type=Path, help="write the areas of every task as comma-separated values")
    options = parser.parse_args()
    rows = []
    for kind in options.prompts.split(","):
        for task, (before, after) in sentences().items():
            templates = {
                "questions": ["--shots", "5"],
                "sentences": ["--shots", "0", "--input-prefix", before, "--input-separator", "", "--output-prefix", after],
            }
            if kind not in templates:
                parser.error(f"there are no prompts '{kind}'; choose from {', '.join(templates)}")
            document = perturb(options.model, task, *templates[kind])
            whole = document["orderings"]["reversed"][-1]["accuracy"]["top1"]
            areas = {name: document["auc"][name] for name in ORDERINGS}
            rows.append({
                "model": options.model.name, "prompts": kind, "task": task, "accuracy": whole, **areas,
                "random_std": document["random_auc"]["std"],
            })
            print(".", end="", file=sys.stderr, flush=True)
        solved = [row for row in rows if row["prompts"] == kind and row["accuracy"] >= SOLVED]
        means = "  ".join(f"{name} {statistics.mean(row[name] for row in solved):.2f}" for name in ORDERINGS) if solved else ""
        print(f"\n{options.model.name}, {kind}: {len(solved)} tasks solved  {means}")
    if options.out:
        with options.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            for row in rows:
                writer.writerow({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})


if __name__ == "__main__":
    main()
