"""A training step (forward, backward, clipping, AdamW) by PyTorch + transformers.

    python benches/peers/torch_train.py [BATCH [TOKENS [STEPS]]]

A random model of GPT-2 124M's shape. Prints one line of JSON.
"""

import json
import statistics
import sys

import torch
from torch_device import DEVICE, clock, where
from transformers import GPT2Config, GPT2LMHeadModel


def main():
    batch = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    tokens = int(sys.argv[2]) if len(sys.argv) > 2 else 64
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    torch.manual_seed(0)
    # No dropout, as in retrograd train.
    model = GPT2LMHeadModel(GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False)).to(DEVICE).train()
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95), fused=True)
    ids = torch.tensor([[7919 * (b * tokens + t) % 50257 for t in range(tokens + 1)] for b in range(batch)], device=DEVICE)
    inputs, targets = ids[:, :-1], ids[:, 1:]
    times = []
    for _ in range(steps + 1):
        started = clock()
        logits = model(inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append((clock() - started) * 1e3)
    first, times = times[0], times[1:]
    print(json.dumps({
        "name": "pytorch train", **where(), "length": tokens, "batch": batch,
        "first_ms": round(first, 1), "median_ms": round(statistics.median(times), 1), "min_ms": round(min(times), 1), "runs": steps,
    }))


if __name__ == "__main__":
    main()
