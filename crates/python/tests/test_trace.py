"""Traces: arrays, files, views."""

import json
import subprocess

import numpy as np
import pytest
import retrograd
from conftest import ATLAS, FIXTURES

PROMPT, TARGET = "The capital of France is", " Paris"


@pytest.fixture(scope="module")
def trace(atlas):
    return atlas.trace(PROMPT, target=TARGET)


def test_arrays_have_the_names_shapes_and_bits_of_the_trace_file(trace, tmp_path):
    from safetensors.numpy import load_file

    path = tmp_path / "trace.safetensors"
    trace.save(path)
    wanted = load_file(path)
    assert set(trace) == set(wanted) == set(trace.keys())
    assert len(trace) == len(wanted)
    read = trace.read(trace.keys())
    for name, array in wanted.items():
        assert trace[name].dtype == array.dtype and trace[name].shape == array.shape, name
        assert np.array_equal(trace[name], array), name
        assert read[name] is trace[name], "a tensor is read once"
    again = retrograd.open_trace(path)
    assert again.loss == trace.loss and again.ids == trace.ids
    assert np.array_equal(again["logits"], trace["logits"])
    assert again.prompt == PROMPT and again.tokens[0].startswith("#")
    with pytest.raises(retrograd.RequestError, match="read from a file"):
        again.lens()


def test_the_command_traces_the_same_bits(trace, command, tmp_path):
    from safetensors.numpy import load_file

    path = tmp_path / "trace.safetensors"
    run = [command, "trace", PROMPT, "--target", TARGET, "--model", str(ATLAS), "--json", "--out", str(path)]
    document = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    for name, array in load_file(path).items():
        assert np.array_equal(trace[name], array), name
    mine = trace.summary()
    document["model"] = mine["model"] = None
    assert mine == document


def test_arrays_are_read_only_and_belong_to_no_copy(trace):
    array = trace["transformer.h.3.attn.reversed"]
    assert array is trace["transformer.h.3.attn.reversed"]
    with pytest.raises(ValueError):
        array[0, 0, 0] = 1
    # A view on the memory that the device's was copied to.
    assert not array.flags.owndata and array.flags.c_contiguous


def test_identities_of_reversed_attention_hold(trace):
    for layer in range(4):
        reversed_ = trace[f"transformer.h.{layer}.attn.reversed"]
        largest = np.abs(reversed_).max()
        assert np.abs(reversed_.sum(-1)).max() <= 1e-5 * largest
        assert not np.triu(reversed_, 1).any()


def test_views_agree_with_the_arrays(trace):
    heads = trace.attention()["heads"]
    first = heads[0]
    norm = np.linalg.norm(trace[f"transformer.h.{first['layer']}.attn.reversed"][first["head"]])
    assert first["reversed_norm"] == pytest.approx(norm, rel=1e-5)
    assert heads == sorted(heads, key=lambda head: -head["reversed_norm"])
    lens = trace.lens("mlp.c_proj.delta,resid_post", layers=[1, 3], top=2)
    assert len(lens["entries"]) == 2 * 2 * len(trace.ids)
    last = lens["entries"][-1]
    assert (last["site"], last["layer"], last["top"][0]["text"]) == ("resid_post", 3, lens["answer"]["text"])
    assert lens.svg().startswith("<svg ")
    effects = {(head["layer"], head["head"]): head["indirect_effect"] for head in trace.mediate()["heads"]}
    assert len(effects) == 16


def test_the_graph_is_that_of_the_command(atlas, trace, command):
    graph = trace.flow(layers=[1, 2], top=2)
    run = [command, "flow", PROMPT, "--target", TARGET, "--model", str(ATLAS), "--layers", "1-2", "--top", "2", "--json"]
    wanted = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    assert graph == wanted
    silenced = atlas.trace(PROMPT, target=TARGET, ablate=[(1, 1)]).flow(layers=1)
    assert silenced["links"] != trace.flow(layers=1)["links"]


def test_notebooks_see_tables_and_figures(trace):
    assert "‖R‖" in trace._repr_html_() and "<table>" in trace.attention()._repr_html_()
    assert "<svg " in trace.lens()._repr_html_() and "silenced" in trace.mediate()._repr_html_()
    assert "Trace(5 tokens, target, loss" in repr(trace)


def test_the_page_is_one_file(atlas, trace, tmp_path):
    page = trace.page("flow")
    page.save(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text == page.html and text.startswith("<!doctype html>") and "connect-src 'none'" in text
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    shown = trace._repr_html_()
    assert shown.startswith("<iframe sandbox=") and "srcdoc=" in shown and len(shown) < len(text) * 2
    with pytest.raises(retrograd.RequestError, match="'flaw' is none of overview, heads, lens, flow"):
        trace.page("flaw")
    with pytest.raises(retrograd.RequestError, match="views: 'graph' is none of"):
        trace.page(views=["graph"])
    small = atlas.trace(PROMPT, target=TARGET, sites="resid_post")
    with pytest.raises(retrograd.RequestError, match="is not in this trace"):
        small.page()
    assert "<iframe" not in small._repr_html_()


def test_a_gradient_is_the_product_of_its_factors(trace):
    gradient = trace.gradient("transformer.h.1.mlp.c_proj")
    assert gradient.x is trace["transformer.h.1.mlp.c_proj.input"]
    wanted = gradient.x.astype(np.float64).T @ gradient.delta.astype(np.float64)
    assert gradient.shape == wanted.shape == (512, 128)
    scale = np.abs(wanted).max()
    assert np.abs(gradient.dense() - wanted).max() <= 1e-6 * scale
    u, s, vt = gradient.svd()
    assert np.abs((u * s) @ vt - wanted).max() <= 1e-9 * scale
    assert np.allclose(s, np.linalg.svd(wanted, compute_uv=False)[: len(s)], rtol=1e-9)
    assert gradient.norm == pytest.approx(np.linalg.norm(wanted), rel=1e-12)
    assert len(s) <= gradient.rank_bound <= 5
    assert gradient.contributions().shape == (5,)
    last = trace.gradient("transformer.h.3.mlp.c_proj")
    assert last.rank_bound == 1 and "rank at most 1" in repr(last)


def test_objectives_captures_and_interventions(atlas):
    by_id = atlas.trace(np.array(atlas.encode(PROMPT)), target=atlas.encode(TARGET)[0], sites="attn.reversed")
    assert by_id.keys()[2:] == [f"transformer.h.{layer}.attn.reversed" for layer in range(4)]
    assert "logits" not in by_id and "transformer.h.9.resid_post" not in by_id and 3 not in by_id
    assert atlas.trace(PROMPT, completion=" Paris.", layers="0,2-3").objective["kind"] == "completion"
    assert atlas.trace(PROMPT, next_token=True, layers=1)["lm_head.input"].shape == (4, 128)
    difference = atlas.trace(PROMPT, target=TARGET, minus=" Rome")
    logits = difference["logits"][0]
    rome, paris = atlas.encode(" Rome")[0], atlas.encode(" Paris")[0]
    assert difference.loss == pytest.approx(float(logits[rome] - logits[paris]), rel=1e-5)

    plain = atlas.trace(PROMPT, target=TARGET)
    head = plain.attention()["heads"][0]
    silenced = atlas.trace(PROMPT, target=TARGET, ablate=[(head["layer"], head["head"])])
    assert silenced.loss != plain.loss
    assert silenced.loss == atlas.trace(PROMPT, target=TARGET, ablate=f"{head['layer']}.{head['head']}").loss
    effects = {(e["layer"], e["head"]): e["indirect_effect"] for e in plain.mediate()["heads"]}
    effect = np.exp(-silenced.loss) - np.exp(-plain.loss)
    assert effects[head["layer"], head["head"]] == pytest.approx(effect, abs=1e-6)


def test_patches_from_traces_files_and_arrays_are_the_same(atlas, tmp_path):
    plain = atlas.trace(PROMPT, target=TARGET)
    patched = atlas.trace(PROMPT, target=TARGET, patch=plain, alpha=-50)
    assert patched.loss < plain.loss
    plain.save(tmp_path / "plain.safetensors")
    names = {layer: plain[f"transformer.h.{layer}.attn.reversed"] for layer in range(4)}
    ways = [tmp_path / "plain.safetensors", names, {f"transformer.h.{k}.attn.reversed": v for k, v in names.items()}]
    for way in ways:
        assert atlas.trace(PROMPT, target=TARGET, patch=way, alpha=-50).loss == patched.loss
    one = atlas.trace(PROMPT, target=TARGET, patch={2: names[2]}, alpha=-50, patch_heads=[(2, 1)])
    assert one.loss not in (plain.loss, patched.loss)


def test_edits_end_with_the_weights_as_they_were(atlas, tmp_path):
    before = atlas.trace(PROMPT, target=" Rome")["logits"].copy()
    with atlas.edit(PROMPT, " Rome", layers=1, eta=0.5) as edit:
        assert edit.after["target_probability"] > edit.before["target_probability"]
        assert edit.report["schema"] == "retrograd-edit/1" and edit.report["layers"] == [1]
        during = atlas.trace(PROMPT, target=" Rome")["logits"].copy()
        assert not np.array_equal(during, before)
        with pytest.raises(retrograd.RequestError, match="being edited"):
            atlas.edit(PROMPT, " Rome", layers=1, eta=0.5)
        edit.save(tmp_path / "edited")
    assert np.array_equal(atlas.trace(PROMPT, target=" Rome")["logits"], before)
    with pytest.raises(retrograd.RequestError, match="closed"):
        edit.save(tmp_path / "again")
    edited = retrograd.Gpt2.load(tmp_path / "edited")
    assert np.allclose(edited.trace(PROMPT, target=" Rome")["logits"], during, atol=1e-4)
    with atlas.edit(PROMPT, " Rome", method="sgd") as best:
        assert best.after["answer"]["text"] == " Rome"
    assert np.array_equal(atlas.trace(PROMPT, target=" Rome")["logits"], before)


def test_text_comes_and_goes(atlas):
    assert atlas.decode(atlas.encode(PROMPT)) == PROMPT
    assert atlas.generate(PROMPT, max_new_tokens=1) == " Paris"
    assert atlas.config["n_layer"] == 4 and str(ATLAS) == atlas.name and atlas.adapter in repr(atlas)


def test_reference_model_without_a_tokenizer():
    model = retrograd.Gpt2.load(FIXTURES / "untied")
    trace = model.trace([1, 2, 3], target=7)
    assert trace.tokens == ["#1", "#2", "#3"] and trace.prompt is None
    with pytest.raises(retrograd.RequestError, match="no tokenizer"):
        model.trace("text", target=7)
