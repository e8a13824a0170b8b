"""GPT-2 with a hand-derived, closed-form backward pass on any GPU, or none.

>>> import retrograd
>>> model = retrograd.Gpt2.load("models/atlas")
>>> trace = model.trace("The capital of France is", target=" Paris")
>>> trace["transformer.h.3.attn.reversed"].shape  # read from the device when it is touched
(4, 5, 5)

One forward and one backward pass give the Reversed Attention map of every head and the two thin factors of every weight
gradient. Tensors have the names of the project's trace files; T tokens, P positions that carry loss, width D, H heads, MLP
width I, vocabulary V.
"""

import os as _os
import sys as _sys

# Where there is no desktop session, a Vulkan layer of Mesa's complains on stderr each time it is loaded; as in the command, it
# is switched off then.
if _sys.platform == "linux" and not {"XDG_RUNTIME_DIR", "DRI_PRIME"} & _os.environ.keys():
    _os.environ.setdefault("NODEVICE_SELECT", "1")

from retrograd._errors import DeviceError, FormatError, RequestError, RetrogradError
from retrograd._native import Edit, Gpt2, Gradient, Trace, __version__, open_trace
from retrograd._table import sweep_table

__all__ = [
    "DeviceError",
    "Edit",
    "FormatError",
    "Gpt2",
    "Gradient",
    "RequestError",
    "RetrogradError",
    "Trace",
    "__version__",
    "open_trace",
    "sweep_table",
]
