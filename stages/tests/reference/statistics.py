"""What claims rest on: `python statistics.py` writes statistics.json (SciPy 1.17, blake3).

SciPy where it has the thing; else the definition itself: distributions by counting all orders,
R's rule for the interval of a median (`wilcox.test(conf.int = TRUE, exact = TRUE)`), the mixture of t densities by quadrature. The resamples
are drawn by a port of `exact/rng.rs`, so that SciPy's BCa sees the same ones.
"""

import itertools
import json
import math
import pathlib

import blake3
import numpy as np
from scipy import integrate, optimize, stats

rng = np.random.default_rng(5)
A = [0.394, 0.401, 0.388, 0.397, 0.392]
B = [0.361, 0.37, 0.372, 0.35, 0.391]
D = [round(a - b, 3) for a, b in zip(A, B)]
UNTIED = [0.81, -0.32, 1.47, 0.55, 2.03, -0.11, 0.97, 1.88, 0.29, 3.4]
TIED = [2, -1, 3, 3, -2, 5, 1, 4, 4, 0, -3]


def d_interval(sample, confidence):
    n = len(sample)
    t = np.mean(sample) / np.std(sample, ddof=1) * math.sqrt(n)
    tail = (1 - confidence) / 2
    find = lambda p: optimize.brentq(lambda d: stats.nct.cdf(t, n - 1, d) - p, t - 60, t + 60, xtol=1e-13)
    return [find(p) / math.sqrt(n) for p in (1 - tail, tail)]


def hedges(a, b):
    freedom = len(a) + len(b) - 2
    pooled = math.sqrt((np.var(a, ddof=1) * (len(a) - 1) + np.var(b, ddof=1) * (len(b) - 1)) / freedom)
    j = math.exp(math.lgamma(freedom / 2) - math.log(freedom / 2) / 2 - math.lgamma((freedom - 1) / 2))
    return j * (np.mean(a) - np.mean(b)) / pooled


def tost(sample, x):
    low = stats.ttest_1samp(sample, -x, alternative="greater").pvalue
    high = stats.ttest_1samp(sample, x, alternative="less").pvalue
    inner = stats.t.interval(0.9, len(sample) - 1, np.mean(sample), stats.sem(sample))
    return {"p": max(low, high), "interval": list(inner)}


def signed_rank(sample, exact):
    kept = [x for x in sample if x != 0]
    method = "exact" if exact else stats.PermutationMethod(n_resamples=np.inf)
    one = lambda alternative: stats.wilcoxon(kept, alternative=alternative, method=method)
    return {
        "statistic": float(one("greater").statistic),
        "above": float(one("greater").pvalue),
        "below": float(one("less").pvalue),
        "p": float(one("two-sided").pvalue),
    }


def hodges_lehmann(sample, confidence):
    walsh = sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement(sample, 2))
    n = len(sample)
    counts = np.zeros(n * (n + 1) // 2 + 1, dtype=object)
    counts[0] = 1
    for rank in range(1, n + 1):
        counts[rank:] = counts[rank:] + counts[:-rank].copy()
    tail = (1 - confidence) / 2
    # R: qsignrank(tail, n), the least sum with P(sum or less) >= tail.
    total, quantile = 0, 0
    for quantile, count in enumerate(counts):
        total += count
        if total / 2**n >= tail:
            break
    interval = None if quantile == 0 else [walsh[quantile - 1], walsh[len(walsh) - quantile]]
    return {"estimate": float(np.median(walsh)), "interval": interval}


def philox(counter, key):
    c, k = list(counter), list(key)
    for turn in range(10):
        if turn:
            k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
        a, b = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
    return c


def draws(seed, purpose):
    name = b"".join(x.to_bytes(8, "little") for x in (seed, 0, 0)) + purpose.encode()
    digest = blake3.blake3(name, derive_key_context="repro 2026-11 random stream v1").digest(length=16)
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]
    for block in itertools.count():
        yield from philox([block & 0xFFFFFFFF, block >> 32, words[2], words[3]], words[:2])


def below(source, n):
    while True:
        product = next(source) * n
        if product & 0xFFFFFFFF >= (2**32 - n) % n if product & 0xFFFFFFFF < n else True:
            return product >> 32


def bca(sample, confidence, resamples, seed):
    source, n = draws(seed, "claim bootstrap"), len(sample)
    means = np.array([sum(sample[below(source, n)] for _ in range(n)) / n for _ in range(resamples)])
    seen = stats._resampling.BootstrapResult(confidence_interval=None, bootstrap_distribution=means, standard_error=None)
    found = stats.bootstrap(
        (sample,), np.mean, confidence_level=confidence, n_resamples=0, bootstrap_result=seen, method="BCa"
    )
    return list(map(float, found.confidence_interval))


def statistic(groups):
    pairs = itertools.combinations(groups, 2)
    return sum((x < y) + (x == y) / 2 for a, b in pairs for x in a for y in b)


def trend_exact(groups):
    values, sizes = sum(groups, []), [len(g) for g in groups]
    ends = np.cumsum([0] + sizes)
    found = statistic(groups)
    seen = []

    def choose(left, at, chosen):
        if at == len(sizes):
            seen.append(statistic(chosen))
            return
        for group in itertools.combinations(range(len(left)), sizes[at]):
            rest = [x for i, x in enumerate(left) if i not in group]
            choose(rest, at + 1, chosen + [[left[i] for i in group]])

    choose(values, 0, [])
    seen = np.array(seen)
    return {"groups": groups, "statistic": found, "rising": float(np.mean(seen >= found)), "falling": float(np.mean(seen <= found))}


def trend_normal(groups):
    labels = [i for i, g in enumerate(groups) for _ in g]
    values = sum(groups, [])
    tau = lambda side: float(stats.kendalltau(labels, values, method="asymptotic", alternative=side).pvalue)
    return {"groups": groups, "statistic": statistic(groups), "rising": tau("greater"), "falling": tau("less")}


def evidence(sample, mean, prior=0.25):
    """The density of t under effects of variance 1/prior, over that under none."""
    n = len(sample)
    t = (np.mean(sample) - mean) / np.std(sample, ddof=1) * math.sqrt(n)
    inside = lambda d: stats.norm.pdf(d, 0, prior**-0.5) * stats.nct.pdf(t, n - 1, d * math.sqrt(n))
    mixed = sum(integrate.quad(inside, low, high, epsabs=1e-15)[0] for low, high in itertools.pairwise([-20, -2, 0, 1, 2, 4, 20]))
    return mixed / stats.t.pdf(t, n - 1)


normal = [round(float(x), 3) for x in rng.normal(0.3, 1, 40)]
big = [[round(float(x), 1) for x in rng.normal(0.1 * i, 1, 45)] for i in range(3)]
out = {
    "noncentral": [
        {"t": t, "df": df, "delta": delta, "value": float(stats.nct.cdf(t, df, delta))}
        for t, df, delta in [(1.5, 4, 0.5), (3.25, 4, 3.0), (-2.0, 9, 1.0), (0.0, 2, 1.5), (12.0, 4, 9.0), (60.0, 4, 75.0), (2.5, 1, 2.0), (2.0, 200, 1.0)]
    ],
    "cohen_d": [{"sample": s, "size": float(np.mean(s) / np.std(s, ddof=1)), "interval": d_interval(s, c), "confidence": c} for s, c in [(D, 0.95), (UNTIED, 0.9), (normal, 0.99)]],
    "hedges_g": [{"a": A, "b": B, "g": hedges(A, B)}, {"a": UNTIED, "b": normal, "g": hedges(UNTIED, normal)}],
    "tost": [{"sample": s, "x": x, **tost(s, x)} for s, x in [(D, 0.05), (D, 0.01), (UNTIED, 3.0), (normal, 0.5)]],
    "signed_rank": [{"sample": s, **signed_rank(s, exact)} for s, exact in [(D, True), (UNTIED, True), (normal, True), (TIED, False), ([1, 1, 1, -1, 2, 2], False)]],
    "hodges_lehmann": [{"sample": s, "confidence": c, **hodges_lehmann(s, c)} for s, c in [(D, 0.95), (D, 0.9), (UNTIED, 0.95), (TIED, 0.95), (normal, 0.99)]],
    "bca": [{"sample": s, "confidence": c, "resamples": 999, "seed": seed, "interval": bca(s, c, 999, seed)} for s, c, seed in [(D, 0.95, 0), (UNTIED, 0.9, 7), (normal, 0.95, 1)]],
    "clopper_pearson": [
        {"yes": k, "n": n, "confidence": c, "interval": list(map(float, stats.binomtest(k, n).proportion_ci(c, method="exact")))}
        for k, n, c in [(0, 5, 0.95), (5, 5, 0.95), (6, 6, 0.95), (3, 8, 0.9), (17, 40, 0.99)]
    ],
    "trend_exact": [trend_exact(g) for g in [[[0.1, 0.4], [0.3, 0.7, 0.9], [0.8, 1.2]], [[5.0, 4.0, 3.5], [3.0, 4.5], [1.0, 2.0, 2.5]], [[1.0], [2.0], [3.0], [4.0], [5.0]]]],
    "trend_tied": [trend_exact(g) for g in [[[1, 2, 2], [2, 3], [3, 3, 4]], [[1, 1, 2, 3], [1, 2, 3, 3]]]],
    "trend_normal": [trend_normal(g) for g in [big, big[::-1]]],
    "evidence": [{"sample": s, "mean": m, "value": evidence(s, m)} for s, m in [(D, 0.0), (D, 0.02), (UNTIED, 0.0), (normal[:12], -0.5)]],
}
path = pathlib.Path(__file__).with_suffix(".json")
lines = ",\n".join(f"{json.dumps(name)}: [\n" + ",\n".join(map(json.dumps, cases)) + "\n]" for name, cases in out.items())
path.write_text("{\n" + lines + "\n}\n")
