"""The example of the README: a traced loss, its compiled backward, a few steps of gradient descent."""

import jitgrad


@jitgrad.trace
def loss(w, x, y):
    h = (x @ w).tanh()
    return ((h - y) ** 2).mean()


if __name__ == "__main__":
    jitgrad.manual_seed(0)
    x, y = jitgrad.rand(8, 4), jitgrad.rand(8, 3)
    w = jitgrad.zeros(4, 3, requires_grad=True)
    for step in range(4):
        value = loss(w, x, y)  # the first call records and compiles
        value.backward()  # native code too
        with jitgrad.no_grad():
            w -= w.grad
        w.grad = None
        print(f"step {step}: loss {value:.4f}, from {value.grad_fn.name()}")
