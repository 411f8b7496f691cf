"""Black-Scholes call prices, summed, and the five Greeks: one long elementwise chain and its gradient.

Formulas: Black and Scholes, "The Pricing of Options and Corporate Liabilities", 1973; the derivatives are
those of any textbook on options.
"""

import math

import numpy as np
from scipy.special import erf

from ..workload import Workload

W = Workload("black_scholes", "Black-Scholes price and five Greeks", wrt=("S", "K", "T", "r", "v"))
SIZES = {"1e3": 1_000, "1e5": 100_000, "4e6": 4_000_000}
RANGES = {"S": (50, 150), "K": (50, 150), "T": (0.2, 2), "r": (0.01, 0.1), "v": (0.1, 0.5)}


@W.inputs(*SIZES)
def inputs(case):
    rng = np.random.default_rng(2)
    return {name: rng.uniform(*ends, SIZES[case]).astype(np.float32) for name, ends in RANGES.items()}


@W.reference
def reference(d):
    S, K, T, r, v = (d[k] for k in W.wrt)
    d1 = (np.log(S / K) + (r + 0.5 * v * v) * T) / (v * np.sqrt(T))
    n1, n2 = (0.5 * (1 + erf(z / math.sqrt(2))) for z in (d1, d1 - v * np.sqrt(T)))
    density = np.exp(-0.5 * d1 * d1) / math.sqrt(2 * math.pi)
    discounted = K * np.exp(-r * T) * n2
    theta = S * density * v / (2 * np.sqrt(T)) + r * discounted
    return (S * n1 - discounted).sum(), n1, -discounted / K, theta, T * discounted, S * density * np.sqrt(T)


def price_sum(exp, log, sqrt, erf, sum):
    def loss(S, K, T, r, v):
        spread = v * sqrt(T)
        d1 = (log(S / K) + (r + 0.5 * v * v) * T) / spread
        d2 = d1 - spread
        n1, n2 = (0.5 * (1 + erf(z * 0.7071067811865476)) for z in (d1, d2))
        return sum(S * n1 - K * exp(-r * T) * n2)

    return loss


@W.loss("jitgrad", "torch")
def torch_like(d, peer):
    lib = peer.lib
    return price_sum(lib.exp, lib.log, lib.sqrt, lib.erf, lib.sum)


@W.loss("jax", "autograd")
def numpy_like(d, peer):
    return price_sum(peer.np.exp, peer.np.log, peer.np.sqrt, peer.erf, peer.np.sum)


@W.loss("drjit")
def drjit(d, peer):
    dr = peer.dr
    return price_sum(dr.exp, dr.log, dr.sqrt, dr.erf, dr.sum)


@W.step("numba")
def numba(d, peer):
    import numba

    args = [peer.array(d[k]) for k in W.wrt]

    @numba.njit(parallel=True, fastmath=True)
    def compiled(S, K, T, r, v):
        dS, dK, dT = np.empty_like(S), np.empty_like(S), np.empty_like(S)
        dr, dv = np.empty_like(S), np.empty_like(S)
        one, half = np.float32(1), np.float32(0.5)
        root, norm = np.float32(math.sqrt(0.5)), np.float32(1 / math.sqrt(2 * math.pi))
        total = 0.0
        for i in numba.prange(S.size):
            root_t = math.sqrt(T[i])
            spread = v[i] * root_t
            d1 = (math.log(S[i] / K[i]) + (r[i] + half * v[i] * v[i]) * T[i]) / spread
            n1 = half * (one + math.erf(d1 * root))
            n2 = half * (one + math.erf((d1 - spread) * root))
            density = math.exp(-half * d1 * d1) * norm
            factor = math.exp(-r[i] * T[i]) * n2
            discounted = K[i] * factor
            total += S[i] * n1 - discounted
            dS[i], dK[i] = n1, -factor
            dT[i] = S[i] * density * v[i] * half / root_t + r[i] * discounted
            dr[i], dv[i] = T[i] * discounted, S[i] * density * root_t
        return total, dS, dK, dT, dr, dv

    return lambda: compiled(*args)
