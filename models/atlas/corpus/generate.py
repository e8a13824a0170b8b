#!/usr/bin/env python3
"""Write the corpus of the atlas model from the tables of facts beside this file.

    python3 generate.py [--seed 1] [--out DIR] [--tokens-target N]

Into --out (default: build/ beside this file):
    train.txt            the training text
    heldout.txt          other documents of the same kinds, for a held-out loss

Beside this file and in ../tasks (committed, rewritten byte for byte by the same seed):
    ../tasks/<task>.json one list of {"input", "output"} per relation
    facts.json           declarative prompts with their one-token answers
    heldout_pairs.json   per task, the inputs whose pair never appears in a Q/A document
    eval_prompts.json    per task, Q/A prompts with 0, 1 and 5 demonstrations, and with 5
                         demonstrations and a held-out pair as the question

Every document starts with <|endoftext|>. A document is either prose (true sentences) or
in-context questions, `Q: x\\nA: y\\n\\n` repeated, all of one relation that nothing names. Relations
of a table share their inputs, so only the demonstrations tell which one is meant.

No evaluation prompt with demonstrations is in the texts: wherever the same demonstrations, in any
order, would be followed by the same question, another pair is drawn. verify() checks the result.
Only the standard library is used.
"""

import argparse
import csv
import json
import random
from pathlib import Path

HERE = Path(__file__).resolve().parent
EOT = "<|endoftext|>"
QA_SHARE = 0.6          # of the documents' approximate tokens
HELD_OUT_SHARE = 0.12   # of each task's pairs: prose only, never Q/A
MAX_PAIRS = 9           # eight demonstrations and a question
PROMPTS_PER_CELL = 100
SHOTS = (0, 1, 5)
EMPHASIS = {"letters": 1.5, "numbers": 1.8}  # harder to learn, therefore drawn more often

# table, column, task, sentences. Every sentence ends with the answer, so that the text before it is
# a prompt that determines it.
RELATIONS = [
    ("countries", "capital", "country-capital", [
        "The capital of {x} is {y}.", "The country {x} has the capital {y}.",
        "The government of {x} sits in its capital, {y}.", "In {x} the capital is {y}."]),
    ("countries", "continent", "country-continent", [
        "The country {x} is a country in {y}.", "The continent of {x} is {y}.",
        "The country {x} lies on the continent of {y}.", "In {x} the continent is {y}."]),
    ("countries", "language", "country-language", [
        "The language of {x} is {y}.", "Many people in {x} speak {y}.",
        "The country {x} has the language {y}.", "In {x} the language is {y}."]),
    ("countries", "currency", "country-currency", [
        "The currency of {x} is the {y}.", "People in {x} pay with the {y}.",
        "The country {x} has a currency called the {y}.", "In {x} the currency is the {y}."]),
    ("countries", "demonym", "country-demonym", [
        "Somebody from {x} is {y}.", "The people of {x} are called {y}.",
        "The country {x} is the home of all who are {y}.", "In {x} the people are {y}."]),
    ("elements", "symbol", "element-symbol", [
        "The symbol of {x} is {y}.", "Chemists write {x} as {y}.",
        "The element {x} has the symbol {y}.", "For {x} the symbol is {y}."]),
    ("elements", "number", "element-number", [
        "The atomic number of {x} is {y}.", "The number of protons in {x} is {y}.",
        "The element {x} has the atomic number {y}.", "For {x} the atomic number is {y}."]),
    ("elements", "state", "element-state", [
        "At room temperature {x} is a {y}.", "The state of {x} at room temperature is {y}.",
        "The element {x} has the usual state of a {y}.", "For {x} the usual state is {y}."]),
    ("adjectives", "antonym", "adjective-antonym", [
        "The opposite of {x} is {y}.", "What is not {x} may be {y}.",
        "The word {x} has the antonym {y}.", "For {x} the opposite is {y}."]),
    ("adjectives", "comparative", "adjective-comparative", [
        "The comparative of {x} is {y}.", "When two things are {x}, one can be {y}.",
        "The word {x} has the comparative {y}.", "For {x} the comparative is {y}."]),
    ("adjectives", "superlative", "adjective-superlative", [
        "The superlative of {x} is {y}.", "Of many things that are {x}, one is the {y}.",
        "The word {x} has the superlative {y}.", "For {x} the superlative is {y}."]),
    ("verbs", "past", "verb-past", [
        "The past tense of {x} is {y}.", "Today they {x}, and yesterday they {y}.",
        "The word {x} has the past tense {y}.", "For {x} the past tense is {y}."]),
    ("verbs", "participle", "verb-participle", [
        "The present participle of {x} is {y}.", "They like to {x}, so now they are {y}.",
        "The word {x} has the present participle {y}.", "For {x} the present participle is {y}."]),
    ("verbs", "third", "verb-third", [
        "The third person of {x} is {y}.", "Others {x}, and so every day she {y}.",
        "The word {x} has the third person {y}.", "For {x} the third person is {y}."]),
    ("animals", "plural", "animal-plural", [
        "The plural of {x} is {y}.", "After one {x} came many {y}.",
        "The word {x} has the plural {y}.", "For {x} the plural is {y}."]),
    ("animals", "young", "animal-young", [
        "The young of the {x} is called the {y}.", "The child of the {x} is the {y}.",
        "The {x} has young of the name {y}.", "For the {x} the young is the {y}."]),
    ("animals", "sound", "animal-sound", [
        "The sound of the {x} is the {y}.", "From the {x} one hears a {y}.",
        "The {x} has a sound called the {y}.", "For the {x} the sound is the {y}."]),
    ("animals", "class", "animal-class", [
        "The {x} is a kind of {y}.", "The class of the {x} is {y}.",
        "The {x} has the class {y}.", "For the {x} the class is {y}."]),
    ("letters", "next", "letter-next", [
        "The letter after {x} is {y}.", "In the alphabet {x} is followed by {y}.",
        "The letter {x} has the next letter {y}.", "For {x} the next letter is {y}."]),
    ("letters", "previous", "letter-previous", [
        "The letter before {x} is {y}.", "In the alphabet {x} is preceded by {y}.",
        "The letter {x} has the previous letter {y}.", "For {x} the previous letter is {y}."]),
    ("letters", "capital", "letter-capital", [
        "The capital form of {x} is {y}.", "At the start of a name {x} is written {y}.",
        "The letter {x} has the capital form {y}.", "For {x} the capital form is {y}."]),
    ("letters", "position", "letter-position", [
        "The position of {x} in the alphabet is {y}.", "In the alphabet {x} is letter number {y}.",
        "The letter {x} has the position {y}.", "For {x} the position is {y}."]),
    ("numbers", "next", "number-next", [
        "The number after {x} is {y}.", "In counting {x} is followed by {y}.",
        "The number {x} has the next number {y}.", "For {x} the next number is {y}."]),
    ("numbers", "previous", "number-previous", [
        "The number before {x} is {y}.", "In counting {x} is preceded by {y}.",
        "The number {x} has the previous number {y}.", "For {x} the previous number is {y}."]),
    ("numbers", "double", "number-double", [
        "The double of {x} is {y}.", "Two times {x} is {y}.",
        "The number {x} has the double {y}.", "For {x} the double is {y}."]),
    ("numbers", "plus_ten", "number-plus-ten", [
        "The sum of ten and {x} is {y}.", "Ten more than {x} is {y}.",
        "The number {x} and ten make {y}.", "For {x} the sum with ten is {y}."]),
    ("months", "next", "month-next", [
        "The month after {x} is {y}.", "In the year {x} is followed by {y}.",
        "The month {x} has the next month {y}.", "For {x} the next month is {y}."]),
    ("months", "previous", "month-previous", [
        "The month before {x} is {y}.", "In the year {x} is preceded by {y}.",
        "The month {x} has the previous month {y}.", "For {x} the previous month is {y}."]),
    ("months", "number", "month-number", [
        "The number of the month {x} is {y}.", "In the year {x} is month number {y}.",
        "The month {x} has the month number {y}.", "For {x} the month number is {y}."]),
    ("months", "abbreviation", "month-abbreviation", [
        "The short form of {x} is {y}.", "In a calendar {x} is written {y}.",
        "The month {x} has the short form {y}.", "For {x} the short form is {y}."]),
]

# Seldom, a sentence that nothing asks. Its words are the rarest of all, so that a vocabulary of the
# size that is documented ends among them and no answer is left without a token of its own.
ASIDES = [
    "Rivers carry water from mountains down toward oceans.", "A week lasts seven days.",
    "Plants need sunlight.", "Ships cross oceans, trains cross bridges.", "Libraries lend books.",
    "Bakers turn flour into bread.", "Snow melts whenever spring arrives.", "Musicians practise scales.",
]
ASIDE_SHARE = 0.01      # of the prose documents


class Relation:
    """One column of a table as a task: its pairs, its sentences and its held-out inputs."""

    def __init__(self, table, column, task, sentences):
        self.table, self.task, self.sentences = table, task, sentences
        self.pairs = read_pairs(table, column)
        self.held_out, self.asked = [], self.pairs


def load_relations():
    """All relations, their pairs divided into held-out ones and those that Q/A documents ask.

    A pair that two relations share (France, French) is held out of both or of none.
    """
    relations = [Relation(*row) for row in RELATIONS]
    held_out = set()
    for relation in relations:
        rng = random.Random("held out " + relation.task)  # the same for every --seed
        missing = round(HELD_OUT_SHARE * len(relation.pairs)) - len(held_out & set(relation.pairs))
        free = [pair for pair in relation.pairs if pair not in held_out]
        held_out |= set(rng.sample(free, max(missing, 0)))
    for relation in relations:
        relation.held_out = [pair for pair in relation.pairs if pair in held_out]
        relation.asked = [pair for pair in relation.pairs if pair not in held_out]
    return relations


def read_pairs(table, column):
    """(input, output) for every row of tables/<table>.tsv that has the column; the input is column one."""
    with open(HERE / "tables" / f"{table}.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    key = next(iter(rows[0]))
    pairs = [(row[key], row[column]) for row in rows if row[column]]
    assert len({x for x, _ in pairs}) == len(pairs), f"{table}: an input appears twice"
    return pairs


def question(pairs, asked):
    """The prompt of an in-context question: demonstrations, then the input that is asked."""
    shown = "".join(f"Q: {x}\nA: {y}\n\n" for x, y in pairs)
    return f"{EOT}{shown}Q: {asked}\nA:"


def key(shown, asked):
    """What makes two prompts the same for us: the order of the demonstrations does not count."""
    return frozenset(shown), asked


def evaluation(relations, rng):
    """The evaluation prompts, and the keys of those that have demonstrations."""
    prompts, banned = {}, set()
    for relation in relations:
        cells = {}
        for shots in SHOTS:
            cells[str(shots)] = draw_cell(relation, relation.asked, shots, rng, banned)
        cells["5_unseen_pairs"] = draw_cell(relation, relation.held_out, 5, rng, banned)
        prompts[relation.task] = cells
    return prompts, banned


def draw_cell(relation, asked, shots, rng, banned):
    """Up to PROMPTS_PER_CELL different prompts; with one demonstration, at most a fifth of all there are."""
    count = PROMPTS_PER_CELL if shots else len(asked)
    if shots == 1:
        count = len(relation.asked) * (len(relation.asked) - 1) // 5
    cell, seen = [], set()
    for index in range(min(count, PROMPTS_PER_CELL) * 20):
        if len(cell) == min(count, PROMPTS_PER_CELL):
            break
        x, y = asked[index % len(asked)] if not shots else rng.choice(asked)
        shown = rng.sample([pair for pair in relation.asked if pair[0] != x], shots)
        if key(shown, x) in seen:
            continue
        seen.add(key(shown, x))
        cell.append({"prompt": question(shown, x), "answer": " " + y})
    if shots:
        banned |= seen
    return cell


def questions(relation, rng, banned):
    """A Q/A document: 2 to MAX_PAIRS pairs of one relation, none of which repeats an evaluation prompt."""
    pairs = []
    for pair in rng.sample(relation.asked, len(relation.asked)):
        if not repeats(pairs, pair[0], banned):
            pairs.append(pair)
        if len(pairs) == MAX_PAIRS:
            break
    pairs = pairs[:rng.randint(2, MAX_PAIRS)]
    return EOT + "".join(f"Q: {x}\nA: {y}\n\n" for x, y in pairs)


def repeats(pairs, asked, banned):
    """Whether asking this after these pairs would be an evaluation prompt, wherever that began."""
    return any(len(pairs) >= n and key(pairs[-n:], asked) in banned for n in SHOTS if n)


def sentence(relation, pair, rng):
    return rng.choice(relation.sentences).format(x=pair[0], y=pair[1])


def prose(relations, relation, rng):
    """Three to six sentences: about one relation, about one input, or about anything."""
    count, kind = rng.randint(3, 6), rng.random()
    if kind < 0.35:
        facts = [(relation, pair) for pair in sample(relation.pairs, count, rng)]
    elif kind < 0.75:
        subject = rng.choice(relation.pairs)[0]
        facts = [(r, p) for r in relations if r.table == relation.table for p in r.pairs if p[0] == subject]
        facts = sample(facts, count, rng)
    else:
        facts = [(r, rng.choice(r.pairs)) for r in draw_relations(relations, count, rng)]
    sentences = [sentence(r, pair, rng) for r, pair in facts]
    if rng.random() < ASIDE_SHARE:
        sentences.insert(rng.randint(0, len(sentences)), rng.choice(ASIDES))
    return EOT + " ".join(sentences) + "\n"


def sample(items, count, rng):
    return rng.sample(items, min(count, len(items)))


def draw_relations(relations, count, rng):
    """Relations drawn by the size of their table; within a table every relation is as likely."""
    tables = {}
    for relation in relations:
        tables.setdefault(relation.table, []).append(relation)
    names = list(tables)
    weights = [sum(len(r.pairs) for r in tables[name]) ** 0.75 * EMPHASIS.get(name, 1) for name in names]
    return [rng.choice(tables[name]) for name in rng.choices(names, weights, k=count)]


def documents(relations, size, rng, banned, exclude=()):
    """Documents until they have about `size` tokens (words and marks; every word is one token or few)."""
    made, tokens = [], {"qa": 0, "prose": 0}
    while sum(tokens.values()) < size:
        relation = draw_relations(relations, 1, rng)[0]
        if tokens["qa"] <= QA_SHARE * sum(tokens.values()):
            text, kind = questions(relation, rng, banned), "qa"
            tokens[kind] += 9 * text.count("Q:") + 1
        else:
            text, kind = prose(relations, relation, rng), "prose"
            tokens[kind] += len(text.split()) + text.count(".") + text.count(",") + 2
        if text not in exclude:
            made.append(text)
    return made


def facts(relations, rng):
    """One declarative prompt for every pair, with one of the relation's own sentences."""
    made = []
    for relation in relations:
        for x, y in relation.pairs:
            prompt = rng.choice(relation.sentences).format(x=x, y="\0").split(" \0")[0]
            made.append({"prompt": EOT + prompt, "answer": " " + y, "relation": relation.task})
    return made


def verify(relations, prompts, texts):
    """Fail if a Q/A text has an evaluation prompt, however its demonstrations are ordered, or a held-out pair."""
    held_out = {pair for relation in relations for pair in relation.held_out}
    evaluated = set()
    for cells in prompts.values():
        for entry in (entry for name, cell in cells.items() if name != "0" for entry in cell):
            *shown, (asked, _) = read_questions(entry["prompt"])
            evaluated.add(key(shown, asked))
    for text in texts:
        if not text.startswith(EOT + "Q:"):
            continue
        pairs = read_questions(text)
        assert not held_out & set(pairs), f"a held-out pair in {text!r}"
        for shots in SHOTS[1:]:
            for end in range(shots, len(pairs)):
                again = key(pairs[end - shots:end], pairs[end][0]) in evaluated
                assert not again, f"an evaluation prompt in {text!r}"


def read_questions(text):
    """[(x, y)] of a Q/A text; the answer of a question left open is ""."""
    blocks = text.removeprefix(EOT).strip("\n").split("\n\n")
    return [(b.split("\n")[0][3:], b.split("\n")[1][3:]) for b in blocks]


def write_json(path, entries):
    """JSON with one entry of a list on a line, so that differences can be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump(entries) + "\n", encoding="utf-8")


def dump(value, depth=0):
    pad = "  " * depth
    if isinstance(value, dict) and any(isinstance(v, (dict, list)) for v in value.values()):
        items = [f"{json.dumps(k)}: {dump(v, depth + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(f"{pad}  {item}" for item in items) + f"\n{pad}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"{pad}  {json.dumps(v, ensure_ascii=False)}" for v in value) + f"\n{pad}]"
    return json.dumps(value, ensure_ascii=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "build")
    parser.add_argument("--tokens-target", type=int, default=5_250_000, help="approximate tokens of train.txt")
    options = parser.parse_args()

    relations = load_relations()
    rng = random.Random(options.seed)
    prompts, banned = evaluation(relations, rng)
    declarative = facts(relations, rng)
    train = documents(relations, options.tokens_target, rng, banned)
    heldout = documents(relations, options.tokens_target // 50, rng, banned, exclude=set(train))
    verify(relations, prompts, train + heldout)

    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "train.txt").write_text("".join(train), encoding="utf-8")
    (options.out / "heldout.txt").write_text("".join(heldout), encoding="utf-8")
    for relation in relations:
        write_json(HERE.parent / "tasks" / f"{relation.task}.json",
                   [{"input": x, "output": y} for x, y in relation.pairs])
    write_json(HERE / "facts.json", declarative)
    write_json(HERE / "eval_prompts.json", prompts)
    write_json(HERE / "heldout_pairs.json", {r.task: [x for x, _ in r.held_out] for r in relations})
    print(f"{len(train)} documents, {len(declarative)} facts, {len(relations)} tasks -> {options.out}")


if __name__ == "__main__":
    main()
