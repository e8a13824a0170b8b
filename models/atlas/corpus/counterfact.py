#!/usr/bin/env python3
"""Write a set of facts to be replaced, in the format of CounterFact, from the tables beside this file.

    python3 counterfact.py [--seed 1] [--per-relation 8]

Writes (committed, the same bytes for the same seed):
    ../counterfact.json       records; an answer is " " + str and one token of the shipped model
    ../counterfact-text.txt   true sentences, for a perplexity

A record asks for one fact of a relation with another answer of that relation:
    requested_rewrite     the prompt is one of the relation's own sentences, up to the answer
    paraphrase_prompts    the relation's other sentences
    neighborhood_prompts  the same sentence about other subjects, whose answer is not the new one
    neighborhood_targets  their own answers (an extension: CounterFact's neighbours all share target_true)
    generation_prompts    sentences about the subject that end with the subject
Every prompt begins with <|endoftext|>, as every document of the training text does.
Only the standard library is used.
"""

import argparse
import json
import random

from generate import EOT, HERE, load_relations, prose

NEIGHBOURS = 8
TEXT_DOCUMENTS = 8


def prompt(form, subject):
    """A sentence up to its answer, about a subject."""
    return EOT + form.format(x=subject, y="\0").split(" \0")[0]


def template(form):
    """The same with {} for the subject."""
    return prompt(form, "{}")


def beginning(form, subject):
    """A sentence up to and with its subject."""
    return EOT + form.split("{x}")[0] + subject


def record(relation, pair, rng):
    subject, truth = pair
    new = rng.choice(sorted({y for _, y in relation.pairs if y != truth}))
    form = rng.choice(relation.sentences)
    others = [(x, y) for x, y in relation.pairs if x != subject and y != new]
    neighbours = rng.sample(others, min(NEIGHBOURS, len(others)))
    beginnings = list(dict.fromkeys(beginning(other, subject) for other in relation.sentences))
    return {
        "requested_rewrite": {
            "prompt": template(form),
            "subject": subject,
            "relation_id": relation.task,
            "target_new": {"str": new},
            "target_true": {"str": truth},
        },
        "paraphrase_prompts": [prompt(other, subject) for other in relation.sentences if other != form],
        "neighborhood_prompts": [prompt(form, x) for x, _ in neighbours],
        "neighborhood_targets": [y for _, y in neighbours],
        "generation_prompts": rng.sample(beginnings, min(2, len(beginnings))),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--per-relation", type=int, default=8)
    options = parser.parse_args()

    relations = load_relations()
    rng = random.Random(f"counterfact {options.seed}")
    made = [
        record(relation, pair, rng)
        for relation in relations
        for pair in rng.sample(relation.pairs, min(options.per_relation, len(relation.pairs)))
    ]
    rng.shuffle(made)
    lines = [json.dumps({"case_id": case_id, **fact}, ensure_ascii=False) for case_id, fact in enumerate(made)]
    (HERE.parent / "counterfact.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")

    text = [prose(relations, rng.choice(relations), rng) for _ in range(TEXT_DOCUMENTS)]
    (HERE.parent / "counterfact-text.txt").write_text("".join(text), encoding="utf-8")
    print(f"{len(made)} records, {len(text)} documents of text")


if __name__ == "__main__":
    main()
