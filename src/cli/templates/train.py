"""Logistic regression on the points of a CSV file, with the standard library alone: put your own here.

All randomness comes from --seed, so that the same key gives the same bytes.
"""

import argparse
import csv
import json
import math
import random


def points(path):
    """The points of a file, and to which of two groups each belongs."""
    with open(path, newline="") as file:
        return [([float(row["x"]), float(row["y"])], int(row["label"])) for row in csv.DictReader(file)]


def probability(weights, x):
    """The model's probability of label 1."""
    return 1.0 / (1.0 + math.exp(-(weights[0] * x[0] + weights[1] * x[1] + weights[2])))


def accuracy(weights, data):
    """The share of points whose label is the likelier one."""
    return sum((probability(weights, x) > 0.5) == bool(y) for x, y in data) / len(data)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--metrics", required=True)
    parser.add_argument("--model", required=True)
    args = parser.parse_args()

    rng = random.Random(args.seed)
    data = points(args.data)
    rng.shuffle(data)
    train, test = data[:200], data[200:]
    weights = [rng.gauss(0.0, 1.0) for _ in range(3)]
    with open(args.metrics, "w", newline="") as file:
        # Long form: one value per row. `split` and `name` make train_accuracy and test_accuracy.
        rows = csv.writer(file)
        rows.writerow(["epoch", "split", "name", "value"])
        for epoch in range(1, args.epochs + 1):
            for x, y in train:
                slope = probability(weights, x) - y
                for i, value in enumerate([*x, 1.0]):
                    weights[i] -= args.lr * slope * value / len(train)
            rows.writerow([epoch, "train", "accuracy", accuracy(weights, train)])
            rows.writerow([epoch, "test", "accuracy", accuracy(weights, test)])
    with open(args.model, "w") as file:
        json.dump(weights, file)


if __name__ == "__main__":
    main()
