"""Functions that several tests schedule and compile: row programs, a long elementwise chain with gradient, products."""

import math

from jitgrad.ir.builder import FunctionBuilder
from jitgrad.ir.core import Function
from jitgrad.ir.differentiate import vjp
from jitgrad.ir.passes import run_pipeline, strip
from jitgrad.ir.types import TensorType, f32, i32, i64


class Rows:
    """Parameters and broadcasts over `rows` rows of `columns`."""

    def __init__(self, rows: int, columns: int) -> None:
        self.b = FunctionBuilder()
        self.shape = (rows, columns)

    def matrix(self, name: str):
        return self.b.param(TensorType(f32, self.shape), name)

    def vector(self, name: str):
        return self.b.param(TensorType(f32, self.shape[1:]), name)

    def down(self, row_scalar):
        return self.b.broadcast(row_scalar, shape=self.shape, dims=(0,))

    def across(self, vector):
        return self.b.broadcast(vector, shape=self.shape, dims=(1,))


def softmax(rows: int, columns: int) -> Function:
    """y = softmax(x) over rows, and x's cotangent for y's."""
    r = Rows(rows, columns)
    b, x, dy = r.b, r.matrix("x"), r.matrix("dy")
    e = b.exp(b.sub(x, r.down(b.max(x, axes=(1,)))))
    y = b.div(e, r.down(b.sum(e, axes=(1,))))
    dx = b.mul(y, b.sub(dy, r.down(b.sum(b.mul(y, dy), axes=(1,)))))
    return b.finish("softmax", [y, dx])


def kept_rows(rows: int, columns: int) -> Function:
    """A row computed once, kept for two more phases, with a dear scalar between each two."""
    r = Rows(rows, columns)
    b, x = r.b, r.matrix("x")
    e = b.exp(b.sin(x))
    scale = b.log(b.add(b.sum(e, axes=(1,)), 1.0))
    largest = b.tanh(b.max(b.mul(e, r.down(scale)), axes=(1,)))
    return b.finish("kept_rows", [b.sum(b.mul(e, r.down(largest)), axes=(1,))])


def layer_norm(rows: int, columns: int) -> Function:
    """Layer norm with weight g and bias h, and the cotangents of x, g and h."""
    r = Rows(rows, columns)
    b = r.b
    x, g, h, dy = r.matrix("x"), r.vector("g"), r.vector("h"), r.matrix("dy")

    def mean(v):
        return b.mul(b.sum(v, axes=(1,)), 1 / columns)

    d = b.sub(x, r.down(mean(x)))
    scale = b.div(1.0, b.sqrt(b.add(mean(b.mul(d, d)), 1e-5)))
    n = b.mul(d, r.down(scale))
    y = b.add(b.mul(n, r.across(g)), r.across(h))
    dn = b.mul(dy, r.across(g))
    centred = b.sub(b.sub(dn, r.down(mean(dn))), b.mul(n, r.down(mean(b.mul(dn, n)))))
    dg, dh = b.sum(b.mul(dy, n), axes=(0,)), b.sum(dy, axes=(0,))
    return b.finish("layer_norm", [y, b.mul(centred, r.down(scale)), dg, dh])


def cross_entropy(rows: int, columns: int) -> Function:
    """The mean of -log softmax(x)[label] and its gradient."""
    r = Rows(rows, columns)
    b, x = r.b, r.matrix("x")
    label = b.param(TensorType(i64, (rows,)), "label")
    z = b.sub(x, r.down(b.max(x, axes=(1,))))
    log_p = b.sub(z, r.down(b.log(b.sum(b.exp(z), axes=(1,)))))
    loss = b.mul(b.sum(b.gather(log_p, label, axis=1, batch=1), axes=(0,)), -1 / rows)
    ct = b.constant(-1 / rows, TensorType(f32, (rows,)))
    hot = b.scatter_add(b.zeros(x.type), label, ct, axis=1, batch=1)
    dx = b.sub(hot, b.mul(b.exp(log_p), r.down(b.sum(hot, axes=(1,)))))
    return b.finish("cross_entropy", [loss, dx])


def black_scholes(n: int) -> Function:
    """The sum of call prices and its gradient by spot, strike, time, rate and volatility."""
    b = FunctionBuilder()
    spot, strike, time, rate, vol = (b.param(TensorType(f32, (n,)), name) for name in "SKTrv")
    root = b.sqrt(time)
    drift = b.mul(b.add(rate, b.mul(b.mul(vol, vol), 0.5)), time)
    d1 = b.div(b.add(b.log(b.div(spot, strike)), drift), b.mul(vol, root))
    d2 = b.sub(d1, b.mul(vol, root))

    def normal(x):
        return b.mul(b.add(b.erf(b.mul(x, 1 / math.sqrt(2))), 1.0), 0.5)

    paid = b.mul(b.mul(strike, b.exp(b.neg(b.mul(rate, time)))), normal(d2))
    price = b.sum(b.sub(b.mul(spot, normal(d1)), paid), axes=(0,))
    return vjp(b.finish("black_scholes", [price]), wrt=range(5))


def product(shape, dtype=f32, turned=(False, False), batch=()) -> Function:
    """x @ y of the shape (m, k, n), each transposed from how it lies where `turned` says so."""
    m, k, n = shape
    b = FunctionBuilder()
    rank = len(batch)
    perm = (*range(rank), rank + 1, rank)
    operands = []
    for lies, turn in (((m, k), turned[0]), ((k, n), turned[1])):
        x = b.param(TensorType(dtype, (*batch, *(lies[::-1] if turn else lies))))
        operands.append(b.permute(x, perm=perm) if turn else x)
    return b.finish("product", [b.matmul(*operands)])


def convolution(x, w, stride, dilation, dtype=f32) -> Function:
    """x[G, N, C, *S] with the weights w[G, O, C, *K], given by their shapes."""
    b = FunctionBuilder()
    operands = [b.param(TensorType(dtype, shape)) for shape in (x, w)]
    return b.finish("conv", [b.conv(*operands, stride=stride, dilation=dilation)])


def gradient(f):
    """`f` and its gradients by all parameters, for cotangents of one."""
    joint, b = vjp(f, wrt=range(len(f.params))), FunctionBuilder()
    params = [b.param(p.type, p.name) for p in f.params]
    results = b.inline(joint, [*params, *(b.constant(1.0, v.type) for v in f.results)])
    return run_pipeline(strip(b.finish(f.name, results)))


# Pairs of points.


def squares(b, p, axis=2):
    """Squared distances of all pairs of points (n, d), or (d, n) for axis 0."""
    n, d = p.type.shape if axis else p.type.shape[::-1]
    shape, dims = ((n, n, d), (0, 2), (1, 2)), 0
    if not axis:
        shape = ((d, n, n), (0, 1), (0, 2))
    whole, dims, others = shape
    apart = b.sub(b.broadcast(p, shape=whole, dims=dims), b.broadcast(p, shape=whole, dims=others))
    return b.sum(b.mul(apart, apart), axes=(axis,))


def energy(dtype=f32, n=75, d=3, axis=2):
    b = FunctionBuilder()
    p = b.param(TensorType(dtype, (n, d) if axis else (d, n)), "p")
    return b.finish("energy", [b.sum(b.div(1.0, b.sqrt(b.add(squares(b, p, axis), 0.01))), axes=(0, 1))])


def lennard_jones(dtype=f32, n=75, d=3):
    b = FunctionBuilder()
    p = b.param(TensorType(dtype, (n, d)), "p")
    r = squares(b, p)
    at = [b.iota(shape=(n, n), axis=k, dtype=i32) for k in (0, 1)]
    itself = b.eq(*at)
    inverse = b.div(1.0, b.select(itself, 1.0, r))
    sixth = b.mul(b.mul(inverse, inverse), inverse)
    pair = b.select(itself, 0.0, b.sub(b.mul(sixth, sixth), sixth))
    near = b.select(b.lt(r, 9.0), pair, 0.0)
    return b.finish("lennard_jones", [b.sum(near, axes=(0, 1))])


def gaussian_process(dtype=f32, n=75, d=3):
    """exp(-|x_i - x_j|^2 / 2) @ alpha."""
    b = FunctionBuilder()
    p, alpha = b.param(TensorType(dtype, (n, d)), "p"), b.param(TensorType(dtype, (n,)), "alpha")
    k = b.exp(b.mul(squares(b, p), -0.5))
    y = b.reshape(b.matmul(k, b.reshape(alpha, shape=(n, 1))), shape=(n,))
    return b.finish("gaussian_process", [y])


def spread(dtype=f32, n=75, d=3):
    """The sum over pairs of the squared distance: no reduction runs over the coordinates alone."""
    b = FunctionBuilder()
    p = b.param(TensorType(dtype, (n, d)), "p")
    shape = (n, n, d)
    apart = b.sub(b.broadcast(p, shape=shape, dims=(0, 2)), b.broadcast(p, shape=shape, dims=(1, 2)))
    return b.finish("spread", [b.sum(b.mul(apart, apart), axes=(0, 1, 2))])


# Stencils.


def window(b, x, start, extent):
    limit = tuple(a + n for a, n in zip(start, extent, strict=True))
    return b.slice(x, start=start, limit=limit, step=(1,) * len(extent))


def rosenbrock(n=5000, dtype=f32):
    """The sum of 100 (x[1:] - x[:-1]^2)^2 + (1 - x[:-1])^2, and its gradient."""
    b = FunctionBuilder()
    x = b.param(TensorType(dtype, (n,)), "x")
    a, c = window(b, x, (0,), (n - 1,)), window(b, x, (1,), (n - 1,))
    t, u = b.sub(c, b.mul(a, a)), b.sub(1.0, a)
    loss = b.sum(b.add(b.mul(b.mul(t, 100.0), t), b.mul(u, u)), axes=(0,))
    return gradient(b.finish("rosenbrock", [loss]))


def laplacian(n, m, dtype=f32, smooth=False):
    """Half the sum of the squared five-point Laplacian (of its tanh), and its gradient."""
    b = FunctionBuilder()
    x = b.param(TensorType(dtype, (n, m)), "x")
    inside = (n - 2, m - 2)
    around = [window(b, x, at, inside) for at in ((0, 1), (2, 1), (1, 0), (1, 2))]
    total = b.mul(window(b, x, (1, 1), inside), -4.0)
    for v in around:
        total = b.add(total, v)
    total = b.tanh(total) if smooth else total
    return gradient(b.finish("laplacian", [b.mul(b.sum(b.mul(total, total), axes=(0, 1)), 0.5)]))
