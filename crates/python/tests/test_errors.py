"""What is wrong, and how it is said."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
import retrograd
from conftest import ATLAS

PROMPT, TARGET = "The capital of France is", " Paris"


def test_directories_that_hold_no_gpt2(command, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(retrograd.FormatError) as caught:
        retrograd.Gpt2.load(tmp_path)
    said = subprocess.run([command, "trace", "a", "--target", "b", "--model", str(tmp_path)], capture_output=True, text=True)
    assert said.stderr.strip() == f"error: {caught.value}"
    assert isinstance(caught.value, (OSError, retrograd.RetrogradError))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "exactly one of target="),
        ({"target": TARGET, "next_token": True}, "exactly one of target="),
        ({"target": " the city of Paris"}, "token"),
        ({"target": 99999}, "outside the vocabulary"),
        ({"target": -1}, "-1 is not a token id"),
        ({"completion": ""}, "empty"),
        ({"target": TARGET, "layers": "0-9"}, "9 is not a layer"),
        ({"target": TARGET, "sites": "attn.reverse"}, "matches no tensor"),
        ({"target": TARGET, "ablate": [(0, 9)]}, "heads 0 to 3"),
        ({"target": TARGET, "ablate": 3}, r"\(layer, head\) pairs"),
        ({"target": TARGET, "patch": {0: np.zeros((4, 5, 5), np.float32)}}, "alpha"),
    ],
)
def test_requests(atlas, arguments, said):
    with pytest.raises(ValueError, match=said) as caught:
        atlas.trace(PROMPT, **arguments)
    assert isinstance(caught.value, retrograd.RequestError)


@pytest.mark.parametrize(
    ("maps", "said"),
    [
        ({0: np.zeros((4, 5, 5))}, "dtype float64: give float32"),
        ({0: np.zeros((4, 5, 6), np.float32)}, r"shape \[4, 5, 6\]; the model and the prompt need \[4, 5, 5\]"),
        ({0: [[1.0]]}, "no NumPy array but list"),
        ({0: np.ones((4, 5, 5), np.float32)}, "above the diagonal"),
        ({9: np.zeros((4, 5, 5), np.float32)}, "layers 0 to 3"),
        ({0: np.full((4, 5, 5), np.nan, np.float32) * np.tri(5, dtype=np.float32)}, "diagonal|finite"),
        ({"resid_post": np.zeros((4, 5, 5), np.float32)}, "neither a layer nor an attention map"),
        ({}, "no maps"),
        (3.5, "a Trace, the path of a trace file, or a dict"),
    ],
)
def test_patch_maps(atlas, maps, said):
    with pytest.raises(retrograd.RequestError, match=said):
        atlas.trace(PROMPT, target=TARGET, patch=maps, alpha=-1)


def test_patches_of_another_length(atlas):
    other = atlas.trace("The capital of France", target=TARGET)
    with pytest.raises(retrograd.RequestError, match="4 tokens, but the prompt has 5"):
        atlas.trace(PROMPT, target=TARGET, patch=other, alpha=-1)


def test_prompts_of_other_kinds(atlas):
    for prompt in ("", [], 3, [1.5], ["a"]):
        with pytest.raises(retrograd.RequestError):
            atlas.trace(prompt, target=TARGET)


def test_tensors_that_are_not_there(atlas):
    trace = atlas.trace(PROMPT, target=TARGET, layers=1)
    with pytest.raises(KeyError, match="widen layers="):
        trace["transformer.h.0.attn.reversed"]
    with pytest.raises(KeyError, match="not a tensor of a trace"):
        trace["nonsense"]
    with pytest.raises(retrograd.RequestError, match="layers 0 to 3"):
        trace.gradient("transformer.h.9.mlp.c_fc")
    with pytest.raises(retrograd.RequestError, match="expected lm_head or"):
        trace.gradient("mlp")
    with pytest.raises(retrograd.FormatError, match="no directory"):
        trace.save("absent/trace.safetensors")
    with pytest.raises(retrograd.RequestError, match="without ablate="):
        atlas.trace(PROMPT, target=TARGET, ablate="0.1").mediate()
    with pytest.raises(retrograd.RequestError, match="trace with target="):
        atlas.trace(PROMPT, next_token=True).mediate()


def test_devices_and_precisions_that_are_not_there():
    with pytest.raises(retrograd.DeviceError, match="no adapter's name contains 'abacus'"):
        retrograd.Gpt2.load(ATLAS, adapter="abacus")
    with pytest.raises(retrograd.RequestError, match="choose f32 or f16"):
        retrograd.Gpt2.load(ATLAS, precision="f8")
    with pytest.raises(retrograd.DeviceError):
        retrograd.Gpt2.load(ATLAS, memory_limit=1000)


def test_what_does_not_fit_is_refused_or_made_to_fit():
    long = " ".join([PROMPT] * 12)
    with pytest.raises(retrograd.DeviceError, match="--fit does what is needed"):
        retrograd.Gpt2.load(ATLAS, memory_limit=6_500_000).trace(long, target=TARGET)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        roomy = retrograd.Gpt2.load(ATLAS, memory_limit=6_500_000, fit=True)
        roomy.trace(PROMPT, target=TARGET)
    with pytest.raises(retrograd.DeviceError, match="that keeps no layer needs .* f16"):
        roomy.trace(long, target=TARGET)
    with pytest.warns(UserWarning, match="the weight matrices are f16"):
        halved = retrograd.Gpt2.load(ATLAS, memory_limit=5_500_000, fit=True)
    with pytest.warns(UserWarning, match=r"the layers that are kept are \[3\]"):
        trace = halved.trace(long, target=TARGET)
    whole = retrograd.Gpt2.load(ATLAS, precision="f16").trace(long, target=TARGET)
    assert trace.loss == whole.loss
    name = "transformer.h.3.attn.reversed"
    assert np.array_equal(trace[name], whole[name])
    assert "transformer.h.0.attn.reversed" not in trace and "transformer.h.0.attn.reversed" in whole


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_behind_a_fork_every_use_says_so(atlas):
    trace = atlas.trace(PROMPT, target=TARGET)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = []
        for use in (lambda: atlas.trace(PROMPT, target=TARGET), lambda: trace["logits"], lambda: retrograd.Gpt2.load(ATLAS)):
            try:
                use()
                said.append("nothing")
            except retrograd.DeviceError as error:
                said.append(str(error))
        os.write(writing, "\n".join(said).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        lines = pipe.read().splitlines()
    os.waitpid(child, 0)
    assert len(lines) == 3 and all("was forked from process" in line and "'spawn'" in line for line in lines), lines
    assert trace["logits"].shape[1] > 100


def test_other_threads_run_while_the_device_works(atlas):
    counted = 0
    done = threading.Event()

    def count():
        nonlocal counted
        while not done.is_set():
            counted += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    ids = (atlas.encode(PROMPT) * 20)[:60]
    before = counted
    for _ in range(5):
        atlas.trace(ids, next_token=True)
    ran = counted - before
    done.set()
    thread.join()
    assert ran >= 5


def test_ctrl_c_ends_the_wait(tmp_path):
    # A model whose mediation takes a while: many prompts one after another.
    script = tmp_path / "long.py"
    script.write_text(
        "import sys, retrograd\n"
        f"model = retrograd.Gpt2.load({str(ATLAS)!r})\n"
        "print('ready', flush=True)\n"
        "try:\n"
        "    while True:\n"
        "        model.trace('The capital of France is', target=' Paris').mediate()\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', flush=True)\n"
        "print(round(model.trace('The capital of France is', target=' Paris').loss, 3), flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert rest.splitlines()[0] == "interrupted" and len(rest.splitlines()) == 2
    assert process.returncode == 0
