"""PyTorch + transformers doing what one trace does, without weight gradients.

    python benches/peers/torch_trace.py [TOKENS [RUNS]]

A random model of GPT-2 124M's shape; the loss is -log p of one token at the last position. Parameters do not require
gradients; the embedded tokens do, so that autograd runs the whole backward pass. Kept, as in a trace: the input and the
output gradient of each of the 48 linear layers, the softmax and the gradient of q.kT of each layer. Prints one line of JSON.
"""

import json
import statistics
import sys
import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.models.gpt2 import modeling_gpt2


def recording_attention(record):
    """transformers' eager attention, keeping the raw scores and the softmax."""

    def attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **_):
        raw = query @ key.transpose(-1, -2)
        raw.retain_grad()
        scores = raw * scaling
        if attention_mask is not None:
            scores = scores + attention_mask
        pattern = torch.softmax(scores, dim=-1)
        record[module.layer_idx] = (raw, pattern)
        return (pattern @ value).transpose(1, 2), pattern

    return attention


def main():
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(attn_implementation="eager", use_cache=False)).eval()
    model.requires_grad_(False)
    record, factors = {}, {}
    modeling_gpt2.eager_attention_forward = recording_attention(record)

    def keep(name):
        def hook(_, arguments, output):
            output.retain_grad()
            factors[name] = (arguments[0], output)

        return hook

    for layer in range(12):
        for site in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
            name = f"transformer.h.{layer}.{site}"
            model.get_submodule(name).register_forward_hook(keep(name))
    ids = torch.tensor([[7919 * t % 50257 for t in range(tokens)]])

    def trace():
        embedded = model.transformer.wte(ids).requires_grad_(True)
        hidden = model.transformer(inputs_embeds=embedded).last_hidden_state
        logits = model.lm_head(hidden[:, -1])
        torch.nn.functional.cross_entropy(logits, torch.tensor([11])).backward()
        assert all(raw.grad is not None for raw, _ in record.values())
        assert all(output.grad is not None for _, output in factors.values())

    times = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        trace()
        times.append((time.perf_counter() - started) * 1e3)
    first, times = times[0], sorted(times[1:])
    print(json.dumps({
        "name": "pytorch trace", "version": torch.__version__, "threads": torch.get_num_threads(), "tokens": tokens,
        "first_ms": round(first, 1), "median_ms": round(statistics.median(times), 1), "min_ms": round(times[0], 1), "runs": runs,
    }))


if __name__ == "__main__":
    main()
