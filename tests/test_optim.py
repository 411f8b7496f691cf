"""Optimizers against their published updates written out in NumPy, and what surrounds a step."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from arrays import leaf

import jitgrad
from jitgrad import optim

STEPS = 6


def np_sgd(p, g, s, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False):
    g = (-g if maximize else g) + weight_decay * p
    if momentum:
        s["b"] = momentum * s["b"] + (1 - dampening) * g if "b" in s else g
        g = g + momentum * s["b"] if nesterov else s["b"]
    return p - lr * g


def np_adam(
    p, g, s, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, maximize=False, decoupled=False
):
    g = -g if maximize else g
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    t = s["t"] = s.get("t", 0) + 1
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
    s["top"] = np.maximum(s.get("top", 0), s["v"])
    v = s["top"] if amsgrad else s["v"]
    return p - lr * (s["m"] / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)


def np_adamw(p, g, s, lr=1e-3, weight_decay=1e-2, **options):
    return np_adam(p, g, s, lr, weight_decay=weight_decay, decoupled=True, **options)


def np_rmsprop(
    p, g, s, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False, maximize=False
):
    g = (-g if maximize else g) + weight_decay * p
    s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g * g
    s["mean"] = alpha * s.get("mean", 0) + (1 - alpha) * g
    step = g / (np.sqrt(s["v"] - s["mean"] ** 2 if centered else s["v"]) + eps)
    s["b"] = momentum * s.get("b", 0) + step
    return p - lr * s["b"]


CASES = [
    (optim.SGD, np_sgd, {"lr": 0.1}),
    (optim.SGD, np_sgd, {"lr": 0.1, "momentum": 0.9}),
    (optim.SGD, np_sgd, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
    (optim.SGD, np_sgd, {"lr": 0.01, "momentum": 0.5, "dampening": 0.3, "weight_decay": 0.1, "maximize": True}),
    (optim.Adam, np_adam, {}),
    (optim.Adam, np_adam, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    (optim.Adam, np_adam, {"lr": 0.01, "amsgrad": True}),
    (optim.Adam, np_adam, {"lr": 0.01, "amsgrad": True, "maximize": True, "weight_decay": 0.1}),
    (optim.AdamW, np_adamw, {}),
    (optim.AdamW, np_adamw, {"lr": 0.01, "weight_decay": 0.3, "amsgrad": True}),
    (optim.RMSprop, np_rmsprop, {}),
    (optim.RMSprop, np_rmsprop, {"momentum": 0.9, "weight_decay": 0.1}),
    (optim.RMSprop, np_rmsprop, {"centered": True, "momentum": 0.5, "maximize": True}),
]


def start() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((3, 2)), rng.standard_normal(2)


def loss_of(a, b):
    return ((a * 2 + b) ** 2).sum() + (a**3).sum() / 10


def np_gradients(a, b):
    d = 2 * (a * 2 + b)
    return 2 * d + 3 * a**2 / 10, d.sum(0)


@pytest.mark.parametrize(("cls", "update", "options"), CASES, ids=lambda v: getattr(v, "__name__", str(v)))
def test_update(cls, update, options):
    a, b = start()
    ta, tb = leaf(a), leaf(b)
    optimizer = cls([{"params": [ta]}, {"params": tb, "lr": 0.05}], **options)
    states = {}, {}
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(ta, tb).backward()
        optimizer.step()
        ga, gb = np_gradients(a, b)
        a = update(a, ga, states[0], **options)
        b = update(b, gb, states[1], **{**options, "lr": 0.05})
        np.testing.assert_allclose(ta.detach().numpy(), a, rtol=1e-10)
        np.testing.assert_allclose(tb.detach().numpy(), b, rtol=1e-10)


@pytest.mark.parametrize("cls", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop])
def test_a_step_is_in_place_and_outside_the_graph(cls):
    p, untouched = leaf([1.0, 2.0]), leaf([3.0])
    gradient = jitgrad.tensor([0.5, -1.0], dtype=jitgrad.float64)
    p.grad = gradient
    address, version = p.data_ptr(), p._version
    options = {"momentum": 0.9} if cls is optim.SGD else {}
    optimizer = cls([p, untouched], weight_decay=0.1, maximize=True, **options)
    for _ in range(2):
        optimizer.step()
    assert p.is_leaf and p.requires_grad and p.data_ptr() == address and p._version > version
    assert p.grad is gradient and gradient.tolist() == [0.5, -1.0]
    assert untouched.tolist() == [3.0] and untouched not in optimizer.state
    for entry in optimizer.state[p].values():
        assert isinstance(entry, jitgrad.Tensor) and not entry.requires_grad


def test_float32_state_and_result():
    p = jitgrad.ones(2, requires_grad=True)
    optimizer = optim.Adam([p])
    (p * 3).sum().backward()
    optimizer.step()
    assert p.dtype is optimizer.state[p]["exp_avg"].dtype is jitgrad.float32
    # 1 - beta2^t must not lose digits: the first step is lr whatever the gradient's size
    np.testing.assert_allclose(p.detach().numpy(), 1 - 1e-3, rtol=1e-7)


def test_write_of_a_saved_value_is_found():
    p = leaf([1.0, 2.0])
    loss = (p * p).sum()
    p.grad = jitgrad.ones(2, dtype=jitgrad.float64)
    optim.SGD([p], 0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_zero_grad():
    p = leaf([1.0])
    optimizer = optim.SGD([p], 0.1)
    (p * 2).sum().backward()
    kept = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0.0] and kept.tolist() == [0.0]
    (p * p).sum().backward(create_graph=True)
    optimizer.zero_grad(set_to_none=False)
    assert not p.grad.requires_grad
    optimizer.zero_grad()
    assert p.grad is None
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is None


def test_closure():
    p = leaf([2.0])
    optimizer = optim.SGD([p], 0.25)

    def closure():
        assert jitgrad.is_grad_enabled()
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with jitgrad.no_grad():
        loss = optimizer.step(closure)
        assert not jitgrad.is_grad_enabled()
    assert loss.item() == 4.0 and p.tolist() == [1.0]
    assert optimizer.step() is None


def test_learning_rate_changes_take_effect():
    p = leaf([1.0])
    optimizer = optim.SGD([p])
    assert optimizer.defaults["lr"] == optimizer.param_groups[0]["lr"] == 1e-3
    for lr in (0.5, jitgrad.tensor(0.25)):
        before = p.item()
        optimizer.param_groups[0]["lr"] = lr
        p.grad = jitgrad.ones(1, dtype=jitgrad.float64)
        optimizer.step()
        assert p.item() == before - float(lr)


def test_add_param_group():
    p, q = leaf([1.0]), leaf([2.0])
    optimizer = optim.SGD([p], 0.1)
    optimizer.add_param_group({"params": q, "lr": 0.5, "note": "second"})
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.5]
    assert optimizer.param_groups[1]["momentum"] == 0 and optimizer.param_groups[1]["note"] == "second"
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [p]})


@pytest.mark.parametrize("cls", [optim.SGD, optim.Adam, optim.RMSprop])
def test_state_dict_continues_where_it_was(cls):
    options = {"momentum": 0.9} if cls is optim.SGD else {}

    def run(p, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            (p**4).sum().backward()
            optimizer.step()

    p = leaf([1.0, -2.0])
    optimizer = cls([p], lr=0.01, **options)
    run(p, optimizer, 3)
    saved = optimizer.state_dict()
    assert saved["param_groups"][0]["params"] == [0] and set(saved["state"]) == {0}
    q = leaf(p.tolist())
    other = cls([q], lr=0.5, **options)
    other.load_state_dict(copy.deepcopy(saved))
    assert other.param_groups[0]["lr"] == 0.01
    run(p, optimizer, 3)
    run(q, other, 3)
    assert p.tolist() == q.tolist()
    assert all(a is not b for a, b in zip(optimizer.state[p].values(), other.state[q].values(), strict=True))
    other.load_state_dict(saved)  # as in torch, what is not copied is shared; options are copied
    assert all(a is b for a, b in zip(optimizer.state[p].values(), other.state[q].values(), strict=True))
    assert other.param_groups[0] is not optimizer.param_groups[0]


@pytest.mark.parametrize("cls", [optim.RMSprop, optim.Adam, optim.AdamW])
def test_updates_are_counted(cls):
    p = leaf([1.0])
    optimizer = cls([p])
    for _ in range(3):
        p.grad = p.detach() * 1
        optimizer.step()
    assert next(iter(optimizer.state[p])) == "step" and optimizer.state[p]["step"] == 3


def test_loaded_state_takes_the_dtype_of_the_parameter():
    p = leaf([1.0])
    optimizer = optim.Adam([p])
    (p * 2).sum().backward()
    optimizer.step()
    q = jitgrad.ones(1, requires_grad=True)
    other = optim.Adam([q])
    other.load_state_dict(optimizer.state_dict())
    assert other.state[q]["exp_avg"].dtype is jitgrad.float32
    assert other.state[q]["step"].item() == 1


def test_state_dict_of_other_groups_is_refused():
    p, q = leaf([1.0]), leaf([2.0])
    saved = optim.SGD([p], 0.1).state_dict()
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optim.SGD([{"params": [p]}, {"params": [q]}], 0.1).load_state_dict(saved)
    with pytest.raises(ValueError, match="doesn't match the size"):
        optim.SGD([p, q], 0.1).load_state_dict(saved)


def test_what_is_no_list_of_parameters():
    p = leaf([1.0])
    for params, error, message in (
        (p, TypeError, "should be an iterable of Tensors or dicts, but got Tensor"),
        ([], ValueError, "empty parameter list"),
        ([1.0], TypeError, "one of the params is float"),
        ([p * 2], ValueError, "can't optimize a non-leaf Tensor"),
        ([{"params": {p}}], TypeError, "ordered collections"),
        ([{"params": [p]}, {"params": [p]}], ValueError, "more than one parameter group"),
        ([{"params": [p]}, [p]], TypeError, "param_group must be a dict"),
    ):
        with pytest.raises(error, match=message):
            optim.SGD(params, 0.1)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        optim.SGD([p, p], 0.1)
    with pytest.raises(NotImplementedError):
        p.grad = jitgrad.ones(1, dtype=jitgrad.float64)
        optim.Optimizer([p], {"maximize": False}).step()


@pytest.mark.parametrize(("make", "message"), [
    (lambda p: optim.SGD([p], -1.0), "Invalid learning rate: -1.0"),
    (lambda p: optim.SGD([p], 0.1, momentum=-1), "Invalid momentum value: -1"),
    (lambda p: optim.SGD([p], 0.1, weight_decay=-1), "Invalid weight decay value: -1"),
    (lambda p: optim.SGD([p], 0.1, nesterov=True), "Nesterov momentum requires a momentum and zero dampening"),
    (lambda p: optim.Adam([p], -1.0), "Invalid learning rate"),
    (lambda p: optim.Adam([p], eps=-1e-8), "Invalid epsilon value"),
    (lambda p: optim.Adam([p], betas=(1.0, 0.9)), "Invalid beta parameter at index 0: 1.0"),
    (lambda p: optim.Adam([p], betas=(0.9, -0.1)), "Invalid beta parameter at index 1: -0.1"),
    (lambda p: optim.AdamW([p], weight_decay=float("nan")), "Invalid weight decay value: nan"),
    (lambda p: optim.RMSprop([p], alpha=-1), "Invalid alpha value"),
])
def test_options_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make(leaf([1.0]))


def test_repr_shows_the_options():
    text = repr(optim.SGD([leaf([1.0])], 0.125, momentum=0.5))
    assert text.startswith("SGD (\nParameter Group 0\n") and "lr: 0.125" in text and "params" not in text


def test_training_reaches_the_minimum():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((50, 3))
    w = np.array([1.0, -2.0, 0.5])
    data, target = jitgrad.from_numpy(x), jitgrad.from_numpy(x @ w)
    for make in (lambda p: optim.SGD(p, 0.1, momentum=0.9), lambda p: optim.Adam(p, 0.1)):
        p = leaf(np.zeros(3))
        optimizer = make([p])
        for _ in range(300):
            optimizer.zero_grad()
            ((data @ p - target) ** 2).mean().backward()
            optimizer.step()
        np.testing.assert_allclose(p.detach().numpy(), w, atol=1e-4)


@pytest.mark.parametrize(("cls", "options"), [
    (optim.SGD, {"lr": 0.05}), (optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    (optim.Adam, {"amsgrad": True}), (optim.AdamW, {}), (optim.RMSprop, {"momentum": 0.5, "centered": True}),
], ids=lambda v: getattr(v, "__name__", str(v)))
def test_a_whole_traced_step_is_the_eager_step(cls, options):
    """Parameters that the function captures get their gradients, their updates and their state."""
    data = jitgrad.from_numpy(np.random.default_rng(2).standard_normal((7, 2)))
    results = []
    for traced in (False, True):
        a, b = map(leaf, start())
        optimizer = cls([a, b], **options)

        def step(x, a=a, b=b, optimizer=optimizer):
            optimizer.zero_grad()
            loss = loss_of(a, b) + ((x @ a.T).tanh() ** 2).sum()
            loss.backward()
            optimizer.step()
            return loss

        run = jitgrad.trace(step) if traced else step
        losses = [run(data).item() for _ in range(STEPS)]
        results.append((losses, a.tolist(), b.tolist(), a.grad.tolist()))
    for eager, compiled in zip(*results, strict=True):
        np.testing.assert_allclose(compiled, eager, rtol=1e-9)
    assert run.programs, "no call was compiled"
