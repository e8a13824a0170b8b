#!/usr/bin/env python3
"""Reference gradients of a Hugging Face GPT-2 by PyTorch's autograd, for `retrograd verify --against FILE`.

    pip install torch transformers safetensors
    python scripts/reference_trace.py path/to/gpt2 "The capital of France is" --target " Paris" --out reference.safetensors
    python scripts/reference_trace.py path/to/gpt2 --ids 464,3139,286 --next-token --weights --out reference.safetensors
    retrograd verify --model path/to/gpt2 --against reference.safetensors

Writes every tensor of a Retrograd trace file under its name there, in float64 unless --dtype says otherwise, `tokens`, and
what was differentiated in the metadata `objective`. --weights adds the gradient of every parameter as NAME.grad. No closed
form is used: every delta, and Reversed Attention too, is the .grad of a tensor of the forward pass.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "fixtures"))

import torch
import transformers
from safetensors.torch import save_file

from recorded_trace import Objective, trace

DTYPES = {"f64": torch.float64, "f32": torch.float32}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write reference gradients of a GPT-2 by PyTorch's autograd.")
    parser.add_argument("directory", type=Path, help="Hugging Face GPT-2 directory")
    parser.add_argument("prompt", nargs="?", help="the text; needs the directory's tokenizer")
    parser.add_argument("--ids", help="token ids instead of a text, as in 15496,995")
    loss = parser.add_mutually_exclusive_group(required=True)
    loss.add_argument("--target", help="loss of this token after the prompt: ' Paris'")
    loss.add_argument("--target-id", type=int, help="the same, by id")
    loss.add_argument("--completion", help="mean loss of this text's tokens after the prompt")
    loss.add_argument("--next-token", action="store_true", help="mean loss of every next token of the prompt")
    parser.add_argument("--minus-id", type=int, help="with a target: the logit of this token minus the target's")
    parser.add_argument("--dtype", choices=DTYPES, default="f64", help="what is computed in and stored (default: f64)")
    parser.add_argument("--weights", action="store_true", help="also the gradient of every parameter, as NAME.grad")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parsed = parser.parse_args()
    if (parsed.prompt is None) == (parsed.ids is None):
        parser.error("give either a prompt or --ids")
    return parsed


def tokenizer_of(directory: Path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    return lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]


def request(parsed: argparse.Namespace) -> tuple[list[int], Objective]:
    """The tokens and the loss, as Retrograd words them."""
    encode = lambda text: tokenizer_of(parsed.directory)(text)
    ids = [int(part) for part in parsed.ids.split(",")] if parsed.ids else encode(parsed.prompt)
    if parsed.completion is not None:
        start, ids = len(ids), ids + encode(parsed.completion)
        return ids, Objective("completion", list(range(start - 1, len(ids) - 1)), ids[start:])
    if parsed.next_token:
        return ids, Objective("next_token", list(range(len(ids) - 1)), ids[1:])
    target = parsed.target_id
    if target is None:
        tokens = encode(parsed.target)
        if len(tokens) != 1:
            sys.exit(f"--target: {parsed.target!r} is {len(tokens)} tokens of this tokenizer, and must be one")
        target = tokens[0]
    kind = "target" if parsed.minus_id is None else "logit_difference"
    return ids, Objective(kind, [len(ids) - 1], [target], minus=parsed.minus_id)


def main() -> int:
    parsed = arguments()
    ids, objective = request(parsed)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model = transformers.GPT2LMHeadModel.from_pretrained(
        parsed.directory, dtype=DTYPES[parsed.dtype], attn_implementation="eager"
    ).eval()
    tensors, _ = trace(model, ids, objective, {}, 0.0)
    gradients = {name: tensors.pop(name) for name in list(tensors) if name.startswith("grad.")}
    if parsed.weights:
        tensors |= {name.removeprefix("grad.") + ".grad": value for name, value in gradients.items()}

    words = {"kind": objective.kind, "positions": objective.positions, "targets": objective.targets}
    if objective.minus is not None:
        words["minus"] = [objective.minus]
    metadata = {
        "model": str(parsed.directory),
        "objective": json.dumps(words),
        "adapter": "PyTorch autograd",
        "driver": f"torch {torch.__version__}, transformers {transformers.__version__}, {parsed.dtype}",
    }
    if parsed.prompt is not None:
        metadata["prompt"] = parsed.prompt
    # The file appears whole or not at all.
    with tempfile.TemporaryDirectory(dir=parsed.out.resolve().parent) as scratch:
        part = Path(scratch) / "reference.safetensors"
        save_file(tensors, part, metadata=metadata)
        os.replace(part, parsed.out)
    print(f"{parsed.out}: {len(tensors)} tensors, {len(ids)} tokens, loss {tensors['loss'].item():.6f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
