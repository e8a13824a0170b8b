"""Greedy generation with a cache of keys and values, by PyTorch + transformers.

    python benches/peers/torch_generate.py [PROMPT_TOKENS [NEW_TOKENS [float32 | bfloat16]]]

A random model of GPT-2 124M's shape. Prints one line of JSON; the times are those between two tokens.
"""

import json
import statistics
import sys

import torch
from torch_device import DEVICE, clock, where
from transformers import GPT2Config, GPT2LMHeadModel


def main():
    prompt = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    new = int(sys.argv[2]) if len(sys.argv) > 2 else 32
    dtype = sys.argv[3] if len(sys.argv) > 3 else "float32"
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config()).to(DEVICE).eval().to(getattr(torch, dtype))
    ids = torch.tensor([[7919 * t % 50257 for t in range(prompt)]], device=DEVICE)
    steps = []
    with torch.inference_mode():
        for run in range(3):
            output = model(ids, use_cache=True)
            token = output.logits[:, -1:].argmax(-1)
            for _ in range(new - 1):
                started = clock()
                output = model(token, past_key_values=output.past_key_values, use_cache=True)
                token = output.logits[:, -1:].argmax(-1)
                token.item()
                if run > 0:
                    steps.append((clock() - started) * 1e3)
    median = statistics.median(steps)
    print(json.dumps({
        "name": f"pytorch generate, {dtype}", **where(), "length": prompt,
        "median_ms": round(median, 3), "min_ms": round(min(steps), 3), "tokens_per_s": round(1e3 / median, 2), "runs": len(steps),
    }))


if __name__ == "__main__":
    main()
