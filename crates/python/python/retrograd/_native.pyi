from os import PathLike
from typing import Any, Dict, Iterator, List, Literal, Optional, Sequence, Tuple, Union

import numpy as np
import numpy.typing as npt

from retrograd._report import AttentionReport, LensReport, MediationReport, Page, Report

__version__: str

_Path = Union[str, PathLike[str]]
_Tokens = Union[str, Sequence[int], npt.NDArray[np.integer[Any]]]
_Heads = Union[str, Sequence[Tuple[int, int]]]
_Layers = Union[int, str, Sequence[int]]
_Names = Union[str, Sequence[str]]
_Maps = Union["Trace", _Path, Dict[int, npt.NDArray[np.float32]], Dict[str, npt.NDArray[np.float32]]]
_Array = npt.NDArray[np.float32]

class Gpt2:
    """A GPT-2 on a device; it may be used from several threads."""

    @staticmethod
    def load(
        path: _Path,
        *,
        precision: Literal["f32", "f16"] = "f32",
        adapter: Optional[str] = None,
        memory_limit: Optional[int] = None,
        fit: bool = False,
        default_limits: bool = False,
    ) -> Gpt2:
        """Loads a Hugging Face GPT-2 directory: ``config.json``, safetensors weights and, if there is one, the tokenizer.

        ``adapter`` is a part of a device's name (``retrograd doctor`` lists them); ``memory_limit`` is in bytes;
        ``default_limits`` stays within what every WebGPU device has. ``fit`` loads the weight matrices as f16 where they do
        not fit in f32, and lets traces keep the last layers only where more do not fit; a ``UserWarning`` says so. What is
        loaded stays as it is: ``precision="f16"`` from the start leaves more room for traces.

        Raises ``FormatError`` for a directory that is no GPT-2, ``DeviceError`` where there is no device or too little memory.
        """

    def trace(
        self,
        prompt: _Tokens,
        *,
        target: Optional[Union[str, int]] = None,
        minus: Optional[Union[str, int]] = None,
        completion: Optional[_Tokens] = None,
        next_token: bool = False,
        layers: Optional[_Layers] = None,
        sites: Optional[_Names] = None,
        head_norms: bool = False,
        ablate: Optional[_Heads] = None,
        patch: Optional[_Maps] = None,
        alpha: Optional[float] = None,
        patch_map: Literal["reversed", "forward"] = "reversed",
        patch_heads: Optional[_Heads] = None,
    ) -> Trace:
        """Runs one forward and one backward pass over a text or a list of token ids.

        The loss, one of: ``target``, one token after the prompt (``" Paris"`` or its id), with ``minus`` the difference of
        the two logits; ``completion``, the mean loss of a text's tokens; ``next_token``, that of every next token.

        ``layers`` (``"0,3-5"``, ``[0, 3]``) and ``sites`` (``"attn.*,mlp.c_proj.delta"``) say what is kept, otherwise all;
        ``head_norms`` keeps ‖A‖ and ‖R‖ of every head without their maps.

        ``ablate`` silences heads, ``[(layer, head), …]`` or ``"0.1,3.7"``. ``patch`` adds ``alpha`` times attention maps
        ``[H, T, T]``, float32 and zero above the diagonal, to the attention of their layers, of all heads or of
        ``patch_heads``: of a trace, of a trace file, or of a dict from layers to arrays; ``patch_map`` says which maps of a
        trace.

        Raises ``RequestError`` when any of it does not fit the model.
        """

    def edit(
        self,
        prompt: _Tokens,
        target: _Tokens,
        *,
        method: Literal["shift", "sgd"] = "shift",
        layers: Optional[_Layers] = None,
        eta: Optional[float] = None,
        params: Optional[Sequence[str]] = None,
        biases: bool = False,
        steps: int = 1,
        stop_on_success: bool = False,
        force: bool = False,
    ) -> Edit:
        """Writes a fact into the model for as long as the result is open; use it in a ``with`` statement.

        ``shift`` (one forward pass) changes the ``mlp.c_proj`` of one layer, ``sgd`` steps down the loss in ``params`` (the
        MLPs) of ``layers``. Of several layers (``shift``) and, without ``eta``, of several step sizes, the best on this fact
        is taken.
        """

    def generate(
        self,
        prompt: _Tokens,
        *,
        max_new_tokens: int = 20,
        temperature: float = 0.0,
        top_k: Optional[int] = None,
        top_p: Optional[float] = None,
        seed: int = 0,
    ) -> str:
        """Continues a prompt; the new text alone. A temperature of 0 takes the most probable token each time."""

    def encode(self, text: str) -> List[int]:
        """Token ids of a text."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids."""

    @property
    def config(self) -> Report:
        """Its ``config.json``."""

    @property
    def name(self) -> str:
        """The directory it was loaded from."""

    @property
    def adapter(self) -> str:
        """The device it lies on, with its driver."""

    def _sweep(
        self,
        table: bytes,
        *,
        id: str,
        prompt: str,
        target: str,
        next_token: bool,
        first_token: bool,
        prefix: str,
        lens: Optional[str],
    ) -> Tuple[bytes, List[Tuple[int, str]]]: ...

class Trace:
    """One forward and one backward pass: a mapping from names to read-only arrays.

    ``trace["transformer.h.3.attn.reversed"]`` is float32 ``[H, T, T]``; ``"tokens"`` is uint32. A tensor is copied from the
    device when it is first touched, and once. Names:

    ``tokens[T] loss[1] logits[P,V] transformer.ln_f.input[T,D] transformer.ln_f.{weight,bias}.grad[D] lm_head.input[P,D]
    lm_head.delta[P,V]`` and below ``transformer.h.{l}.``: ``attn.pattern[H,T,T] attn.reversed[H,T,T] attn.c_attn.input[T,D]
    attn.c_attn.delta[T,3D] attn.c_proj.input[T,D] attn.c_proj.delta[T,D] mlp.c_fc.input[T,D] mlp.c_fc.delta[T,I]
    mlp.c_proj.input[T,I] mlp.c_proj.delta[T,D] resid_pre[T,D] resid_mid[T,D] resid_post[T,D]``, each of these three with
    ``.delta``, and ``ln_{1,2}.{weight,bias}.grad[D]``.
    """

    def __getitem__(self, name: str) -> npt.NDArray[Any]: ...
    def __contains__(self, name: object) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[str]: ...
    def keys(self) -> List[str]:
        """Names of the tensors it holds, in the order of a trace file."""

    def read(self, names: Sequence[str]) -> Dict[str, npt.NDArray[Any]]:
        """Several tensors in one round trip to the device."""

    @property
    def loss(self) -> float:
        """The loss."""

    @property
    def ids(self) -> List[int]:
        """The tokens' ids."""

    @property
    def tokens(self) -> List[str]:
        """The tokens' texts; ``#17`` where there is no tokenizer."""

    @property
    def prompt(self) -> Optional[str]:
        """The prompt's text, where there was one."""

    @property
    def objective(self) -> Report:
        """What was differentiated: kind, positions, targets."""

    @property
    def adapter(self) -> str:
        """Where it was computed."""

    def summary(self, top: int = 8) -> Report:
        """The document of ``retrograd trace --json``: predictions, heads, norms of δ by layer."""

    def attention(self) -> AttentionReport:
        """Every head by the size of its Reversed Attention: the document of ``retrograd attention --json``."""

    def lens(
        self,
        sites: Optional[_Names] = None,
        *,
        layers: Optional[_Layers] = None,
        top: int = 5,
        normalize: bool = False,
    ) -> LensReport:
        """Every layer and position read in the vocabulary: the document of ``retrograd lens --json``.

        Of a δ read the *least* probable tokens (``bottom``): a step down the loss writes those.
        """

    def flow(
        self,
        *,
        position: Optional[int] = None,
        layers: Optional[_Layers] = None,
        top: int = 10,
        normalize: bool = False,
        gradient: bool = True,
    ) -> Report:
        """What flows through a position (the last), as nodes and links: the document of ``retrograd flow --json``."""

    def page(self, view: str = "overview", *, views: Optional[Sequence[str]] = None) -> Page:
        """The page of ``retrograd flow --html``, beginning with ``view``: ``overview``, ``heads``, ``lens`` or ``flow``.

        ``views`` are those that it has, all by default; the trace must have captured what they show.
        """

    def gradient(self, name: str) -> Gradient:
        """The gradient of a linear layer's weight (``"transformer.h.3.mlp.c_proj"``, ``"lm_head"``) as its factors."""

    def mediate(self) -> MediationReport:
        """What silencing each head does to the target's probability: the document of ``retrograd mediate --json``."""

    def save(self, path: _Path) -> None:
        """Writes every tensor it holds to a safetensors file, whole or not at all."""

    def _repr_html_(self) -> str: ...

class Gradient:
    """The gradient of one linear layer's weight ``[in, out]``, as the product xᵀδ of two thin factors."""

    @property
    def name(self) -> str:
        """The layer."""

    @property
    def x(self) -> _Array:
        """The layer's input, ``[T, in]``; the trace's array."""

    @property
    def delta(self) -> _Array:
        """The backward signal at its output, ``[T, out]``; the trace's array."""

    @property
    def shape(self) -> Tuple[int, int]:
        """``(in, out)``."""

    @property
    def norm(self) -> float:
        """‖xᵀδ‖, Frobenius, without forming the matrix."""

    @property
    def rank_bound(self) -> int:
        """What its rank is at most."""

    def dense(self) -> _Array:
        """The gradient itself, ``[in, out]``, accumulated in f64."""

    def svd(self) -> Tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """``(u [in, r], s [r], vt [r, out])`` with the gradient equal to ``u * s @ vt``, from the factors alone."""

    def contributions(self) -> npt.NDArray[np.float64]:
        """‖x_t‖·‖δ_t‖ of every position, ``[T]``: the norm of its own part of the gradient."""

class Edit:
    """A fact written into the model, until this is closed: then every weight is as it was, bit for bit."""

    @property
    def report(self) -> Report:
        """The document of ``retrograd edit --json``."""

    @property
    def before(self) -> Dict[str, Any]:
        """``target_probability``, ``target_rank`` and ``answer`` before the edit."""

    @property
    def after(self) -> Dict[str, Any]:
        """The same after it."""

    def save(self, path: _Path) -> None:
        """Writes the edited model to a new directory; only the changed tensors' bytes differ."""

    def keep(self) -> None:
        """Ends the edit and leaves the weights as they are, for as long as the model is loaded."""

    def close(self) -> None:
        """Ends the edit and puts the weights back."""

    def __enter__(self) -> Edit: ...
    def __exit__(self, *exception: object) -> None: ...

def open_trace(path: _Path) -> Trace:
    """Opens a trace file, memory-mapped: what needs a model (``lens``, ``mediate``) is not to be had from it."""

def written_columns(prefix: str = "", lens: Optional[str] = None) -> List[str]: ...
