#!/usr/bin/env python3
"""What benches/lens.rs measures, by PyTorch and NumPy.

    python benches/peers/torch_lens.py [VECTORS]    # of 1536; the loop's time is scaled up

Vectors of GPT-2 124M's width are read one by one, as the notebooks of the Backward Lens paper do: ln_f, product with the
embedding, softmax, topk at both ends, rank of two tokens by sorting, entropy. Then all of them in one batch, with the
whole matrix of logits in memory. Then the singular value decomposition of a 768 x 3072 gradient of rank 64.
"""

import json
import sys
import time

import numpy as np
import torch

WIDTH, VOCABULARY, VECTORS = 768, 50257, 1536


@torch.no_grad()
def read(vector, norm, embedding, targets):
    logits = norm(vector) @ embedding.T
    p = torch.softmax(logits, -1)
    top, bottom = torch.topk(p, 5, -1), torch.topk(p, 5, -1, largest=False)
    order = torch.argsort(p, -1, descending=True)
    ranks = [(order == target).nonzero()[..., -1] for target in targets]
    entropy = -(p * torch.log(p)).sum(-1)
    return [top.indices.tolist(), bottom.indices.tolist(), [rank.tolist() for rank in ranks], entropy.tolist()]


def seconds(run, repeats):
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def main(count):
    torch.manual_seed(0)
    norm = torch.nn.LayerNorm(WIDTH)
    embedding, vectors = torch.randn(VOCABULARY, WIDTH) * 0.05, torch.randn(VECTORS, WIDTH)
    loop = seconds(lambda: [read(vector, norm, embedding, (11, 50000)) for vector in vectors[:count]], 3)
    with torch.no_grad():
        product = seconds(lambda: vectors @ embedding.T, 3)
    rng = np.random.default_rng(0)
    gradient = rng.standard_normal((768, 64)) @ rng.standard_normal((64, 3072))
    dense = seconds(lambda: np.linalg.svd(gradient, full_matrices=False), 3)
    values = seconds(lambda: np.linalg.svd(gradient, compute_uv=False), 3)
    print(json.dumps({
        "torch": torch.__version__, "threads": torch.get_num_threads(),
        "loop_s": loop * VECTORS / count, "product_s": product,
        "numpy_svd_s": dense, "numpy_singular_values_s": values,
    }))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else VECTORS)
