"""Train a classifier of handwritten digits: the whole training step is one traced, compiled function.

The data are the 1797 digits of 8 by 8 pixels that scikit-learn ships; a fifth is held back for the test.

    python examples/digits.py
"""

import itertools
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import jitgrad
from jitgrad.ir.printer import to_text
from jitgrad.nn import functional as F

WIDTHS = (64, 128, 128, 10)
EPOCHS, BATCH, LEARNING_RATE = 30, 32, 0.3
EAGER_EPOCHS = 3  # enough to tell the speed


def load_data():
    """Tensors train_x, test_x, train_y, test_y; pixels from 0 to 1."""
    digits = load_digits()
    pixels = (digits.data / 16).astype(np.float32)
    split = train_test_split(pixels, digits.target, test_size=0.2, stratify=digits.target, random_state=0)
    return [jitgrad.from_numpy(part) for part in split]


def initial_parameters():
    """A weight and a bias for each layer, He initialisation."""
    jitgrad.manual_seed(0)
    return [(jitgrad.randn(n, m) * (2 / n) ** 0.5, jitgrad.zeros(m)) for n, m in itertools.pairwise(WIDTHS)]


def model(parameters, x):
    *hidden, (weight, bias) = parameters
    for w, b in hidden:
        x = F.relu(x @ w + b)
    return x @ weight + bias


def loss(parameters, x, y):
    return F.cross_entropy(model(parameters, x), y)


@jitgrad.trace
def train_step(parameters, x, y, learning_rate):
    """One step of gradient descent: forward, backward and update in one compiled program.

    The learning rate is a Python float, so it may change at every step without a new compilation.
    """
    value, gradients = jitgrad.value_and_grad(loss)(parameters, x, y)
    updated = [
        (w - learning_rate * dw, b - learning_rate * db)
        for (w, b), (dw, db) in zip(parameters, gradients, strict=True)
    ]
    return value, updated


@jitgrad.trace
def predict(parameters, x):
    return model(parameters, x).argmax(1)


def batches(x, y, rng):
    """The training set in random order; the last batch is a short one, with a signature of its own."""
    order = rng.permutation(len(x))
    for start in range(0, len(order), BATCH):
        rows = jitgrad.from_numpy(order[start : start + BATCH])
        yield x[rows], y[rows]


def train(train_x, train_y, epochs, report):
    """Train from the beginning. Gives the parameters, and steps per second once all is compiled."""
    rng = np.random.default_rng(0)
    parameters, seconds = initial_parameters(), []
    for epoch in range(epochs):
        learning_rate = LEARNING_RATE * 0.5 * (1 + float(np.cos(np.pi * epoch / epochs)))
        total = 0.0
        for x, y in batches(train_x, train_y, rng):
            start = time.perf_counter()
            value, parameters = train_step(parameters, x, y, learning_rate)
            seconds.append(time.perf_counter() - start)
            total += value.item() * len(x)
        report(epoch, total / len(train_x))
    after_first_epoch = seconds[len(seconds) // epochs :]
    return parameters, len(after_first_epoch) / sum(after_first_epoch)


def progress(epoch, mean_loss):
    bar = "#" * (30 * (epoch + 1) // EPOCHS)
    print(f"[{bar:30}] epoch {epoch + 1:2}/{EPOCHS}  loss {mean_loss:.4f}", flush=True)


def main():
    train_x, test_x, train_y, test_y = load_data()
    print(f"{len(train_x)} digits to learn from, {len(test_x)} to be tested with; layers {WIDTHS}")
    parameters, traced = train(train_x, train_y, EPOCHS, progress)
    correct = predict(parameters, test_x) == test_y
    with jitgrad.eager():
        _, eager = train(train_x, train_y, EAGER_EPOCHS, lambda *_: None)
    print(f"steps/s: {traced:,.0f} traced, {eager:,.0f} eager ({traced / eager:.1f} times as fast)")

    programs = train_step.programs + predict.programs
    compile_ms = sum(program.compile_seconds for program in programs) * 1e3
    print(f"{len(programs)} signatures compiled in {compile_ms:.0f} ms")
    dump = Path("out/digits.jir")
    dump.parent.mkdir(exist_ok=True)
    dump.write_text(to_text(train_step.programs[0].simplified))
    print(f"the IR of a training step was written to {dump}")
    print(f"test accuracy: {correct.float().mean().item():.1%}")


if __name__ == "__main__":
    main()
