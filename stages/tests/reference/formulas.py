"""Records what formulas of papers make of weights, in f64 and plain Python, for ../formulas.rs.

    python3 formulas.py > formulas.json

Networks are linear, 6-3, on rows drawn as in drawn.py, labelled 0, 1, 2, 0 ...
- soup: Wortsman et al. 2022, recipe 1, and the uniform soup.
- swag: Maddox et al. 2019, algorithm 1, as `swag/posteriors/swag.py` of the authors has it, with the random numbers of
  `swag` (stream.py).
- ema: gradient descent on all rows, and averages of its weights as in PyTorch's `AveragedModel`.
- masks: the criteria of Zhou et al. 2019, table 1; of equal scores the earlier weights go first.
"""

import json
import math
import sys

from stream import Stream

INPUTS, CLASSES = 6, 3
SIZES = {"fc1.weight": CLASSES * INPUTS, "fc1.bias": CLASSES}


def unit(name, count):
    """drawn.unit without NumPy."""
    mask = 2**64 - 1
    key = 0xCBF29CE484222325
    for byte in name.encode():
        key = (key ^ byte) * 0x100000001B3 & mask
    drawn = []
    for i in range(1, count + 1):
        z = key + i * 0x9E3779B97F4A7C15 & mask
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        z ^= z >> 31
        drawn.append((z >> 40) / 2**23 - 1)
    return drawn


def model(fixture):
    return {name: unit(f"{fixture}/{name}", size) for name, size in SIZES.items()}


def rows(fixture, count):
    x = unit(f"{fixture}/inputs", count * INPUTS)
    return [x[i * INPUTS : (i + 1) * INPUTS] for i in range(count)], [i % CLASSES for i in range(count)]


def logits(w, x):
    weight = [w["fc1.weight"][o * INPUTS : (o + 1) * INPUTS] for o in range(CLASSES)]
    return [sum(a * b for a, b in zip(of, x)) + bias for of, bias in zip(weight, w["fc1.bias"])]


def accuracy(w, data):
    right = 0
    for x, label in zip(*data):
        y = logits(w, x)
        best = sorted(y)
        assert best[-1] - best[-2] > 1e-5, "too close for f32"
        right += y.index(best[-1]) == label
    return right / len(data[0])


def mean(models):
    return {name: [sum(of) / len(models) for of in zip(*(m[name] for m in models))] for name in SIZES}


def soup():
    data = rows("soup", 40)
    models = [model(f"soup/{k}") for k in range(6)]
    alone = [accuracy(m, data) for m in models]
    order = sorted(range(6), key=lambda k: -alone[k])
    chosen, best = [order[0]], alone[order[0]]
    for k in order[1:]:
        tried = accuracy(mean([models[i] for i in chosen + [k]]), data)
        if tried >= best:
            chosen, best = chosen + [k], tried
    assert 1 < len(chosen) < 6, chosen
    return {
        "alone": alone,
        "chosen": chosen,
        "accuracy": best,
        "greedy": mean([models[k] for k in chosen]),
        "uniform": mean(models),
    }


class Swag:
    """`SWAG` of the authors' code, on lists."""

    def __init__(self, columns):
        self.max_num_models, self.n_models = columns, 0
        self.mean = {name: [0.0] * size for name, size in SIZES.items()}
        self.sq_mean = {name: [0.0] * size for name, size in SIZES.items()}
        self.cov_mat_sqrt = {name: [] for name in SIZES}

    def collect_model(self, w):
        n = self.n_models
        for name in SIZES:
            self.mean[name] = [m * n / (n + 1.0) + x / (n + 1.0) for m, x in zip(self.mean[name], w[name])]
            self.sq_mean[name] = [s * n / (n + 1.0) + x * x / (n + 1.0) for s, x in zip(self.sq_mean[name], w[name])]
            self.cov_mat_sqrt[name].append([x - m for m, x in zip(self.mean[name], w[name])])
            self.cov_mat_sqrt[name] = self.cov_mat_sqrt[name][-self.max_num_models :]
        self.n_models += 1

    def sample(self, scale, cov, randn, randn_columns):
        drawn = {}
        for name in SIZES:
            var = [max(s - m * m, 1e-30) for m, s in zip(self.mean[name], self.sq_mean[name])]
            rand = [math.sqrt(v) * z for v, z in zip(var, randn[name])]
            if cov:
                columns = zip(*self.cov_mat_sqrt[name])
                shared = [sum(d * z for d, z in zip(of, randn_columns)) for of in columns]
                rand = [r + c / math.sqrt(self.max_num_models - 1) for r, c in zip(rand, shared)]
            drawn[name] = [m + math.sqrt(scale) * r for m, r in zip(self.mean[name], rand)]
        return drawn


def swag():
    columns, seed = 3, 11
    posterior = Swag(columns)
    for k in range(6):
        posterior.collect_model(model(f"swag/{k}"))

    def numbers(sample):
        streams = [(name, Stream(seed, "swag", sample, i), SIZES[name]) for i, name in enumerate(SIZES)]
        randn = {name: [stream.normal() for _ in range(size)] for name, stream, size in streams}
        stream = Stream(seed, "swag columns", sample, 0)
        return randn, [stream.normal() for _ in range(columns)]

    # The authors' `scale` is the factor before the sum of both parts: half of the paper's, which `swag` names.
    return {
        "seed": seed,
        "columns": columns,
        "mean": posterior.mean,
        "diagonal": [posterior.sample(1.5, False, *numbers(k)) for k in (1, 2)],
        "low_rank": [posterior.sample(1.5 / 2, True, *numbers(k)) for k in (1, 2)],
    }


def ema():
    steps, rate, every, decays = 9, 0.5, 2, [0.5, 0.9]
    x, labels = rows("ema", 8)
    w, averages = model("ema"), [None] * len(decays)
    for step in range(1, steps + 1):
        slope = {name: [0.0] * size for name, size in SIZES.items()}
        for row, label in zip(x, labels):
            y = [math.exp(v) for v in logits(w, row)]
            for o in range(CLASSES):
                g = (y[o] / sum(y) - (o == label)) / len(x)
                slope["fc1.bias"][o] += g
                for i in range(INPUTS):
                    slope["fc1.weight"][o * INPUTS + i] += g * row[i]
        w = {name: [v - rate * g for v, g in zip(w[name], slope[name])] for name in SIZES}
        if step % every == 0:
            for i, d in enumerate(decays):
                follow = lambda a, v: a + (1 - d) * (v - a)
                average = averages[i] or w
                averages[i] = {name: [follow(a, v) for a, v in zip(average[name], w[name])] for name in SIZES}
    return {
        "steps": steps,
        "rate": rate,
        "every": every,
        "model": w,
        "averages": [{"decay": d, "weights": a} for d, a in zip(decays, averages)],
    }


def masks():
    first, last = model("masks/first")["fc1.weight"], model("masks/last")["fc1.weight"]
    alpha = sum(map(abs, first)) / sum(map(abs, last))
    sign = lambda w: (w > 0) - (w < 0)
    scores = {
        "magnitude": lambda i, f: abs(f),
        "small_final": lambda i, f: -abs(f),
        "large_init": lambda i, f: abs(i),
        "small_init": lambda i, f: -abs(i),
        "large_init_large_final": lambda i, f: min(alpha * abs(f), abs(i)),
        "small_init_small_final": lambda i, f: -max(alpha * abs(f), abs(i)),
        "magnitude_increase": lambda i, f: abs(f) - abs(i),
        "movement": lambda i, f: abs(f - i),
        "large_final_same_sign": lambda i, f: max(0, sign(i) * f),
        "large_final_other_sign": lambda i, f: max(0, -sign(i) * f),
    }
    fractions = [0.25, 0.5, 0.75]
    kept = {}
    for name, score in scores.items():
        of = [score(i, f) for i, f in zip(first, last)]
        order = sorted(range(len(of)), key=lambda at: (of[at], at))
        kept[name] = []
        for fraction in fractions:
            gone = math.floor(len(of) * fraction + 0.5)
            gap = of[order[gone]] - of[order[gone - 1]]
            assert gap > 1e-5 or gap == 0, "too close for f32"
            kept[name].append([int(at not in order[:gone]) for at in range(len(of))])
    return {"fractions": fractions, "kept": kept}


json.dump({"soup": soup(), "swag": swag(), "ema": ema(), "masks": masks()}, sys.stdout, indent=1)
print()
