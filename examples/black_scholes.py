"""Prices of European call options and their Greeks: one formula in, one fused native loop out.

The gradient of the price with respect to its five inputs is the Greeks: delta (spot), dual delta (strike), minus
theta (time), rho (rate), vega (volatility). Formula: Black and Scholes, "The Pricing of Options and Corporate
Liabilities", 1973.

    python examples/black_scholes.py
"""

import math

import jitgrad
from jitgrad.ir import fuse
from jitgrad.ir.passes import strip

GREEKS = ("delta", "dual delta", "-theta", "rho", "vega")


def normal_cdf(z):
    return 0.5 * (1 + jitgrad.erf(z / math.sqrt(2)))


def price(spot, strike, time, rate, volatility):
    spread = volatility * jitgrad.sqrt(time)
    d1 = (jitgrad.log(spot / strike) + (rate + volatility**2 / 2) * time) / spread
    d2 = d1 - spread
    return spot * normal_cdf(d1) - strike * jitgrad.exp(-rate * time) * normal_cdf(d2)


def total(*market):
    """The sum of the prices: no price depends on another option's inputs, so its gradient is every option's."""
    prices = price(*market)
    return prices.sum(), prices


greeks_of = jitgrad.trace(jitgrad.value_and_grad(total, argnums=(0, 1, 2, 3, 4), has_aux=True))

n = 100_000
jitgrad.manual_seed(0)
market = [
    low + (high - low) * jitgrad.rand(n) for low, high in ((50, 150), (50, 150), (0.2, 2), (0.01, 0.1), (0.1, 0.5))
]
(_, prices), greeks = greeks_of(*market)

print(f"the first of {n} options")
print(f"{'price':12} {prices[0].item():9.4f}")
for name, values in zip(GREEKS, greeks, strict=True):
    print(f"{name:12} {values[0].item():9.4f}")

# The textbook's delta is the normal distribution at d1.
spot, strike, time, rate, volatility = (x.double() for x in market)
d1 = (jitgrad.log(spot / strike) + (rate + volatility**2 / 2) * time) / (volatility * jitgrad.sqrt(time))
print(f"largest difference of delta from the textbook's: {(greeks[0] - normal_cdf(d1)).abs().max().item():.1e}")

(program,) = greeks_of.programs
print("\nkernel that computes all of it:")
print(fuse.to_text(fuse.schedule(strip(program.simplified))))
