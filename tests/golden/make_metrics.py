#!/usr/bin/env python3
"""make_metrics.py - tests/data/metrics.json from scikit-learn, scipy and rouge_score.

    python3 tests/golden/make_metrics.py >tests/data/metrics.json
"""
import json
import math
import random
import warnings

import numpy
from rouge_score import rouge_scorer
from scipy import stats
from sklearn import metrics

warnings.simplefilter("ignore")
draw = random.Random(4)


def classes_case(n, classes, truth, right):
    """`truth`: the classes that occur as truth; a share `right` of the predictions is right."""
    t = [draw.choice(truth) for _ in range(n)]
    p = [x if draw.random() < right else draw.randrange(classes) for x in t]
    return classes_of(classes, t, p)


def classes_of(classes, t, p):
    case = {"classes": classes, "truth": t, "predicted": p,
            "accuracy": metrics.accuracy_score(t, p),
            "macro_f1": metrics.f1_score(t, p, average="macro", zero_division=0),
            "matthews": metrics.matthews_corrcoef(t, p)}
    case["f1"] = metrics.f1_score(t, p, zero_division=0) if classes == 2 else case["macro_f1"]
    return case


def numbers_case(t, p):
    t, p = numpy.float32(t).tolist(), numpy.float32(p).tolist()
    x, y = numpy.float64(p), numpy.float64(t)
    real = lambda v: None if math.isnan(v) else float(v)
    return {"truth": t, "predicted": p, "pearson": real(stats.pearsonr(x, y)[0]),
            "spearman": real(stats.spearmanr(x, y)[0]), "mse": float(numpy.mean((x - y) ** 2))}


def rouge_case(truth, predicted):
    scores = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"]).score(truth, predicted)
    return {"truth": truth, "predicted": predicted,
            **{k: [v.precision, v.recall, v.fmeasure] for k, v in scores.items()}}


TEXTS = [
    ("The cat sat on the mat.", "the cat was on the mat"),
    ("The cat sat on the mat.", "The cat sat on the mat."),
    ("a b c d e f g", "g f e d c b a"),
    ("a a a b", "a b b b a"),
    ("one", "one"), ("one", "two"), ("one two", "two one"), ("", "word"), ("word", ""), ("", ""),
    ("!?", "word"), ("don't stop -- 3.14 UPPER_case", "Don t stop 3 14 upper case"),
    ("na\u00efve caf\u00e9", "na ve caf"),
    ("police killed the gunman", "the gunman kill police"),
    ("x y z x y z x y z w", "z y x w x y z x y"),
]
noise = [draw.gauss(0, 1) for _ in range(60)]
print(json.dumps({
    "classes": [
        classes_case(100, 2, [0, 1], 0.6), classes_case(100, 2, [0, 0, 0, 1], 0.2),
        classes_case(90, 3, [0, 1, 2], 0.5), classes_case(90, 7, [0, 2, 6], 0.5),
        classes_case(40, 5, [3], 0.5), classes_case(30, 4, [0, 1, 2, 3], 1.0),
        classes_of(2, [0, 1, 1, 0], [0, 0, 0, 0]), classes_of(2, [0, 0], [0, 0]),
        classes_of(3, [0, 0, 2], [0, 0, 0]), classes_of(2, [1, 0], [0, 1]),
    ],
    "numbers": [
        numbers_case(noise, [x + draw.gauss(0, 1) for x in noise]),
        numbers_case(noise, [-x for x in noise]),
        numbers_case(noise, [math.floor(x) for x in noise]),
        numbers_case([1, 2, 2, 3, 3, 3], [2, 1, 2, 1, 3, 3]),
        numbers_case([5] * 8, list(range(8))), numbers_case(list(range(8)), [0] * 8),
        numbers_case([1e6 + x for x in range(9)], [x * x for x in range(9)]),
    ],
    "rouge": [rouge_case(*pair) for pair in TEXTS],
}, indent=None, separators=(",", ":")))
