"""Fit a damped oscillation to noisy samples with eager autograd: no tracing, plain Python, plain debugging.

    python examples/curve_fit.py
"""

import jitgrad
from jitgrad import optim

TRUTH = {"amplitude": 2.0, "damping": 0.4, "frequency": 3.0, "phase": 0.5}
START = {"amplitude": 1.0, "damping": 0.1, "frequency": 2.8, "phase": 0.0}


def model(p, t):
    return p["amplitude"] * jitgrad.exp(-p["damping"] * t) * jitgrad.cos(p["frequency"] * t + p["phase"])


def main():
    jitgrad.manual_seed(0)
    t = jitgrad.linspace(0, 6, 200)
    samples = model(TRUTH, t) + 0.05 * jitgrad.randn(200)
    p = {name: jitgrad.tensor(value, requires_grad=True) for name, value in START.items()}
    optimizer = optim.Adam(p.values(), lr=0.05)

    for step in range(301):
        loss = ((model(p, t) - samples) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        if step % 100 == 0:
            # Every value is there at once: print it, or stop here with breakpoint().
            print(f"step {step:3}  loss {loss.item():.5f}  d loss / d damping {p['damping'].grad.item():+.5f}")
        optimizer.step()

    for name, value in p.items():
        print(f"{name:10} {value.item():7.4f}   (true {TRUTH[name]})")


if __name__ == "__main__":
    main()
