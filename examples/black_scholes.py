"""Prices of European call options and their Greeks: one formula in, one fused native loop out.

The gradient of the price with respect to its five inputs is the Greeks: delta (spot), dual delta (strike), minus
theta (time), rho (rate), vega (volatility). Formula: Black and Scholes, "The Pricing of Options and Corporate
Liabilities", 1973.

    python examples/black_scholes.py
    jitgrad dump examples/black_scholes.py:price --args 'f32[9], f32[9], f32[9], f32[9], f32[9]' --stage backward
"""

import math

import jitgrad
from jitgrad.ir import fuse
from jitgrad.ir.passes import strip

RANGES = ((50, 150), (50, 150), (0.2, 2), (0.01, 0.1), (0.1, 0.5))
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


def main():
    jitgrad.manual_seed(0)
    market = [low + (high - low) * jitgrad.rand(100_000) for low, high in RANGES]
    (_, prices), greeks = greeks_of(*market)
    print("the first of 100,000 options")
    for name, values in zip(("price", *GREEKS), (prices, *greeks), strict=True):
        print(f"{name:12} {values[0].item():9.4f}")

    # The textbook's vega is spot * sqrt(time) * the normal density at d1.
    spot, strike, time, rate, volatility = (x.double() for x in market)
    d1 = (jitgrad.log(spot / strike) + (rate + volatility**2 / 2) * time) / (volatility * jitgrad.sqrt(time))
    vega = spot * jitgrad.sqrt(time) * jitgrad.exp(-(d1**2) / 2) / math.sqrt(2 * math.pi)
    error = ((greeks[4] - vega).abs().max() / vega.max()).item()
    print(f"vega differs from the textbook's by {error:.1e} of the largest at most")

    (program,) = greeks_of.programs
    print("\nthe kernel that computes all of it")
    print(fuse.to_text(fuse.schedule(strip(program.simplified))))


if __name__ == "__main__":
    main()
