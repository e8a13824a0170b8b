"""Models that transformers wrote, gradients that torch computed."""

import numpy as np
import pytest
import retrograd
from conftest import ATLAS

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A small random GPT-2, saved by transformers and loaded here."""
    torch.manual_seed(3)
    config = transformers.GPT2Config(vocab_size=131, n_positions=32, n_embd=36, n_layer=2, n_head=3, resid_pdrop=0.0,
                                     embd_pdrop=0.0, attn_pdrop=0.0)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    for parameter in theirs.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    directory = tmp_path_factory.mktemp("model") / "gpt2"
    theirs.save_pretrained(directory)
    return theirs.double(), retrograd.Gpt2.load(directory)


def test_gradients_are_those_of_autograd(pair):
    theirs, mine = pair
    ids, target = [5, 17, 99, 3, 42, 7], 11
    trace = mine.trace(ids, target=target)
    logits = theirs(torch.tensor([ids])).logits[0, -1]
    loss = torch.nn.functional.cross_entropy(logits[None], torch.tensor([target]))
    theirs.zero_grad()
    loss.backward()
    assert trace.loss == pytest.approx(loss.item(), rel=1e-5)
    assert np.allclose(trace["logits"][0], logits.detach().numpy(), rtol=1e-4, atol=1e-4)
    for layer in range(2):
        for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
            path = f"transformer.h.{layer}.{name}"
            wanted = theirs.get_parameter(f"{path}.weight").grad.numpy()
            found = trace.gradient(path).dense()
            assert np.abs(found - wanted).max() <= 2e-5 * np.abs(wanted).max(), path
            bias = theirs.get_parameter(f"{path}.bias").grad.numpy()
            found = trace[f"{path}.delta"].astype(np.float64).sum(0)
            assert np.abs(found - bias).max() <= 2e-5 * np.abs(bias).max(), path
        for norm in ("ln_1", "ln_2"):
            for part in ("weight", "bias"):
                wanted = theirs.get_parameter(f"transformer.h.{layer}.{norm}.{part}").grad.numpy()
                found = trace[f"transformer.h.{layer}.{norm}.{part}.grad"]
                assert np.abs(found - wanted).max() <= 2e-5 * np.abs(wanted).max()


def test_arrays_become_tensors_without_a_copy(pair):
    trace = pair[1].trace([1, 2, 3], next_token=True)
    array = trace["transformer.h.0.resid_post"]
    with pytest.warns(UserWarning, match="not writable"):
        tensor = torch.from_numpy(array)
    assert tensor.data_ptr() == array.ctypes.data


def test_atlas_answers_as_transformers_do(atlas):
    theirs = transformers.GPT2LMHeadModel.from_pretrained(ATLAS).eval()
    ids = atlas.encode("The capital of France is")
    with torch.no_grad():
        wanted = theirs(torch.tensor([ids])).logits[0, -1].numpy()
    found = atlas.trace(ids, target=0)["logits"][0]
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
