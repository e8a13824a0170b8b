"""PyTorch + transformers doing what one trace does.

    python benches/peers/torch_trace.py [TOKENS [RUNS [factors | authors]]]

A random model of GPT-2 124M's shape; the loss is -log p of one token at the last position.

factors: without weight gradients. Parameters do not require gradients; the embedded tokens do, so that autograd runs the
whole backward pass. Kept, as in a trace: the input and the output gradient of each of the 48 linear layers, the softmax
and the gradient of q.kT of each layer.

authors: as the notebooks of the papers do it. Every parameter requires its gradient; a forward hook and a full backward
hook on every module append clones of its inputs and of its output gradients to lists; the gradient of q.kT is kept too.

Prints one line of JSON.
"""

import json
import statistics
import sys

import torch
from torch_device import DEVICE, clock, where
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


def keep_factors(model, factors):
    """Input and output gradient of every linear layer, without a copy."""

    def keep(name):
        def hook(_, arguments, output):
            output.retain_grad()
            factors[name] = (arguments[0], output)

        return hook

    for layer in range(model.config.n_layer):
        for site in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
            name = f"transformer.h.{layer}.{site}"
            model.get_submodule(name).register_forward_hook(keep(name))


def hook_everything(model, inputs, gradients):
    """Clones of what goes into every module and of the gradient that comes back to its output."""

    def tensors(values):
        return [value.detach().clone() for value in values if isinstance(value, torch.Tensor)]

    for name, module in model.named_modules():
        if name:
            module.register_forward_hook(lambda _, given, __, name=name: inputs.setdefault(name, []).append(tensors(given)))
            module.register_full_backward_hook(
                lambda _, __, grads, name=name: gradients.setdefault(name, []).append(tensors(grads))
            )


def main():
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    way = sys.argv[3] if len(sys.argv) > 3 else "factors"
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(attn_implementation="eager", use_cache=False)).to(DEVICE).eval()
    record, inputs, gradients = {}, {}, {}
    modeling_gpt2.eager_attention_forward = recording_attention(record)
    ids = torch.tensor([[7919 * t % 50257 for t in range(tokens)]], device=DEVICE)
    target = torch.tensor([11], device=DEVICE)
    if way == "factors":
        model.requires_grad_(False)
        keep_factors(model, inputs)
    else:
        hook_everything(model, inputs, gradients)

    def trace():
        if way == "factors":
            embedded = model.transformer.wte(ids).requires_grad_(True)
            hidden = model.transformer(inputs_embeds=embedded).last_hidden_state
            logits = model.lm_head(hidden[:, -1])
        else:
            model.zero_grad()
            inputs.clear()
            gradients.clear()
            logits = model(ids).logits[:, -1]
        torch.nn.functional.cross_entropy(logits, target).backward()
        assert all(raw.grad is not None for raw, _ in record.values())
        if way == "factors":
            assert all(output.grad is not None for _, output in inputs.values())
        else:
            assert len(gradients) > 100 and model.transformer.h[0].mlp.c_fc.weight.grad is not None

    times = []
    for _ in range(runs + 1):
        started = clock()
        trace()
        times.append((clock() - started) * 1e3)
    first, times = times[0], sorted(times[1:])
    print(json.dumps({
        "name": f"pytorch trace, {way}", **where(), "length": tokens,
        "first_ms": round(first, 1), "median_ms": round(statistics.median(times), 1), "min_ms": round(times[0], 1), "runs": runs,
    }))


if __name__ == "__main__":
    main()
