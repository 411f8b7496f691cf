"""PyTorch: eager, torch.compile of the loss, and torch.compile of the whole step through torch.func."""

import torch

from . import Engine


class Torch(Engine):
    lib, F = torch, torch.nn.functional

    def array(self, a):
        return torch.from_numpy(a.copy())

    def compile(self, f):
        return f

    def forward(self, f, wrt, consts):
        compiled = self.compile(f)
        return lambda: (compiled(*wrt, *consts),)

    def value_and_grad(self, f, wrt, consts):
        compiled = self.compile(f)
        for w in wrt:
            w.requires_grad_()

        def step():
            value = compiled(*wrt, *consts)
            return value, *torch.autograd.grad(value, wrt)

        return step

    def sgd(self, f, params, consts, lr):
        gradients = self.value_and_grad(f, params, consts)

        def step():
            value, *grads = gradients()
            with torch.no_grad():
                torch._foreach_add_(params, grads, alpha=-lr)
            return value, *params

        return step

    def numpy(self, out):
        return [x.detach().numpy().copy() for x in out]


class Compiled(Torch):
    def compile(self, f):
        return torch.compile(f, dynamic=False)

    def begin_case(self):
        torch._dynamo.reset()

    def start(self):
        x = torch.ones(1000, requires_grad=True)
        torch.compile(lambda x: (x * 2).sum())(x).backward()


class Functional(Compiled):
    """One compiled graph of value, gradients and update, with no autograd engine at run time."""

    def value_and_grad(self, f, wrt, consts):
        gradients = torch.func.grad_and_value(f, argnums=tuple(range(len(wrt))))

        @self.compile
        def compiled(*args):
            grads, value = gradients(*args)
            return value, *grads

        @torch.no_grad()
        def step():
            return compiled(*wrt, *consts)

        return step

    def sgd(self, f, params, consts, lr):
        gradients = torch.func.grad_and_value(f, argnums=tuple(range(len(params))))

        @self.compile
        def compiled(params, consts):
            grads, value = gradients(*params, *consts)
            for p, g in zip(params, grads, strict=True):
                p.sub_(lr * g)
            return value

        @torch.no_grad()
        def step():
            return compiled(params, consts), *params

        return step


def make(name, threads):
    torch.set_num_threads(threads)
    return {"torch": Torch, "torch.compile": Compiled, "torch.compile:func": Functional}[name]()
