"""A process that loads a model, traces a prompt and prints what `retrograd trace --json` prints of it: the loss, the
answer and the size of every head's Reversed Attention. To be timed from outside.

    python benches/peers/torch_start.py transformers|handwritten DIR 1,2,3,4,5 TARGET

transformers: GPT2LMHeadModel.from_pretrained and autograd. handwritten: the forward pass in forty lines of PyTorch on the
safetensors file, and autograd; neither computes weight gradients.
"""

import json
import sys


def with_transformers(directory, ids, target):
    import torch
    from transformers import GPT2LMHeadModel
    from transformers.models.gpt2 import modeling_gpt2

    from torch_trace import recording_attention

    record = {}
    modeling_gpt2.eager_attention_forward = recording_attention(record)
    model = GPT2LMHeadModel.from_pretrained(directory, attn_implementation="eager").eval().requires_grad_(False)
    embedded = model.transformer.wte(torch.tensor([ids])).requires_grad_(True)
    hidden = model.transformer(inputs_embeds=embedded, use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[:, -1])
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([target]))
    loss.backward()
    norms = [raw.grad[0].norm(dim=(1, 2)).tolist() for raw, _ in record.values()]
    return loss.item(), logits.argmax().item(), norms


def handwritten(directory, ids, target):
    import torch
    import torch.nn.functional as F
    from safetensors.torch import load_file

    with open(f"{directory}/config.json", encoding="utf-8") as file:
        config = json.load(file)
    heads, layers, epsilon = config["n_head"], config["n_layer"], config["layer_norm_epsilon"]
    stored = load_file(f"{directory}/model.safetensors")
    w = {name.removeprefix("transformer."): tensor.float() for name, tensor in stored.items()}

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], epsilon)

    def linear(x, name):
        return torch.addmm(w[f"{name}.bias"], x, w[f"{name}.weight"])

    t = len(ids)
    mask = torch.full((t, t), float("-inf")).triu(1)
    x = (w["wte.weight"][ids] + w["wpe.weight"][:t]).requires_grad_(True)
    r, raws = x, []
    for layer in range(layers):
        qkv = linear(norm(r, f"h.{layer}.ln_1"), f"h.{layer}.attn.c_attn")
        q, k, v = (part.view(t, heads, -1).transpose(0, 1) for part in qkv.chunk(3, dim=-1))
        raw = q @ k.transpose(1, 2)
        raw.retain_grad()
        raws.append(raw)
        pattern = torch.softmax(raw / q.shape[-1] ** 0.5 + mask, dim=-1)
        r = r + linear((pattern @ v).transpose(0, 1).reshape(t, -1), f"h.{layer}.attn.c_proj")
        f = linear(norm(r, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc")
        r = r + linear(F.gelu(f, approximate="tanh"), f"h.{layer}.mlp.c_proj")
    logits = norm(r[-1:], "ln_f") @ w["wte.weight"].T
    loss = F.cross_entropy(logits, torch.tensor([target]))
    loss.backward()
    return loss.item(), logits.argmax().item(), [raw.grad.norm(dim=(1, 2)).tolist() for raw in raws]


def main():
    way, directory, ids, target = sys.argv[1:5]
    run = {"transformers": with_transformers, "handwritten": handwritten}[way]
    loss, answer, norms = run(directory, [int(i) for i in ids.split(",")], int(target))
    heads = [
        {"layer": layer, "head": head, "reversed_norm": norm}
        for layer, row in enumerate(norms)
        for head, norm in enumerate(row)
    ]
    heads.sort(key=lambda head: -head["reversed_norm"])
    print(json.dumps({"loss": loss, "answer": answer, "heads": heads}))


if __name__ == "__main__":
    main()
