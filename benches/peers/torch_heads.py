"""Causal mediation the plain way, by PyTorch + transformers: a forward pass for each silenced head and one for none; and the
ranking of the heads by Reversed Attention: one forward and one backward pass.

    python benches/peers/torch_heads.py [TOKENS [RUNS]]

A random model of GPT-2 124M's shape. Prints one line of JSON: median_ms is the mediation's, ranking_ms the ranking's.
"""

import json
import statistics
import sys

import torch
from torch_device import DEVICE, clock, where
from transformers import GPT2Config, GPT2LMHeadModel


def mediate(model, ids, target):
    """P(target) with each head's rows of the output projection at 0, minus P(target)."""
    d = model.config.n_embd // model.config.n_head
    effects = []
    with torch.inference_mode():
        whole = torch.softmax(model(ids, use_cache=False, logits_to_keep=1).logits[0, -1], -1)[target]
        for block in model.transformer.h:
            weight = block.attn.c_proj.weight
            for head in range(model.config.n_head):
                rows = slice(head * d, (head + 1) * d)
                kept = weight[rows].clone()
                weight[rows] = 0.0
                logits = model(ids, use_cache=False, logits_to_keep=1).logits[0, -1]
                effects.append((torch.softmax(logits, -1)[target] - whole).item())
                weight[rows] = kept
    return effects


def rank(model, ids, target):
    """||R|| of every head, R = A * (E - rowsum(A * E)) / sqrt(d), from the gradient at the softmax."""
    patterns = []
    output = model(ids, use_cache=False, output_attentions=True, logits_to_keep=1)
    for pattern in output.attentions:
        pattern.retain_grad()
        patterns.append(pattern)
    torch.nn.functional.cross_entropy(output.logits[:, -1], torch.tensor([target], device=DEVICE)).backward()
    scale = (model.config.n_embd // model.config.n_head) ** -0.5
    norms = []
    for pattern in patterns:
        product = pattern * pattern.grad
        reversed_attention = (product - pattern * product.sum(-1, keepdim=True)) * scale
        norms.append(reversed_attention[0].flatten(1).norm(dim=1))
    return torch.stack(norms).tolist()


def main():
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(attn_implementation="eager")).to(DEVICE).eval()
    # No weight gradients: the input must carry the graph then.
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.transformer.wte.register_forward_hook(lambda _module, _input, output: output.requires_grad_(True))
    ids = torch.tensor([[7919 * t % 50257 for t in range(tokens)]], device=DEVICE)
    times = {mediate: [], rank: []}
    for run in range(runs + 1):
        for work, of in times.items():
            for _ in range(1 if work is mediate else 5):
                started = clock()
                work(model, ids, 25128)
                if run > 0:
                    of.append((clock() - started) * 1e3)
    median = statistics.median(times[mediate])
    print(json.dumps({
        "name": "pytorch heads", **where(), "length": tokens,
        "median_ms": round(median, 1), "min_ms": round(min(times[mediate]), 1), "runs": len(times[mediate]),
        "ranking_ms": round(statistics.median(times[rank]), 1),
    }))


if __name__ == "__main__":
    main()
