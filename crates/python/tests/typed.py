"""Checked by a type checker, not run: the stubs say what the README's lines need."""

from typing import List, Tuple

import numpy as np
import numpy.typing as npt

import retrograd

model: retrograd.Gpt2 = retrograd.Gpt2.load("models/atlas", precision="f16")
trace: retrograd.Trace = model.trace("The capital of France is", target=" Paris", ablate=[(0, 1)], layers=[0, 1])
loss: float = trace.loss
names: List[str] = [name for name in trace]
gradient: retrograd.Gradient = trace.gradient("transformer.h.3.mlp.c_proj")
shape: Tuple[int, int] = gradient.shape
dense: npt.NDArray[np.float32] = gradient.dense()
u, s, vt = gradient.svd()
values: npt.NDArray[np.float64] = s
heads = trace.attention()["heads"]
page: str = trace.page("flow", views=["lens"]).html
figure: str = trace.lens("resid_post").svg()
patched = model.trace([1, 2, 3], next_token=True, patch={0: np.zeros((4, 3, 3), np.float32)}, alpha=-1.0)
with model.edit("The capital of France is", " Rome", layers=1, eta=0.5) as edit:
    edit.save("edited")
try:
    model.trace("", target=" Paris")
except retrograd.RequestError as error:
    text: str = str(error)
