"""Keep or recompute: the plan has the price of the minimum cut, by an independent max-flow."""

import random

import networkx as nx
import pytest

from jitgrad.ir.mincut import keep_or_recompute, minimum_cut


@pytest.mark.parametrize("seed", range(40))
def test_minimum_cut_against_networkx(seed):
    rng = random.Random(seed)
    nodes = rng.randrange(2, 25)
    edges = [
        (rng.randrange(nodes), rng.randrange(nodes), rng.randrange(0, 10)) for _ in range(rng.randrange(80))
    ]
    flow, near = minimum_cut(nodes, edges, 0, 1)
    graph = nx.DiGraph()
    graph.add_nodes_from(range(nodes))
    for tail, head, c in edges:
        if tail != head:
            before = graph.get_edge_data(tail, head, {"capacity": 0})["capacity"]
            graph.add_edge(tail, head, capacity=before + c)
    assert flow == nx.minimum_cut_value(graph, 0, 1)
    assert near[0] and not near[1]
    assert sum(c for tail, head, c in edges if near[tail] and not near[head]) == flow


def test_of_equal_cuts_the_one_nearest_the_source():
    flow, near = minimum_cut(4, [(0, 2, 5), (2, 3, 5), (3, 1, 5)], 0, 1)
    assert flow == 5
    assert near == [True, False, False, False]


def random_problem(rng, n, reach, density):
    operands = [
        tuple(rng.randrange(max(0, v - reach), v) for _ in range(rng.randrange(3))) if v else ()
        for v in range(n)
    ]
    keep = [rng.randrange(12) for _ in range(n)]
    work = [rng.choice([None, 0, 1, 1, 2, 3, 5, 8] if o else [None, None, 0, 3]) for o in operands]
    needed = {v for v in range(n) if rng.random() < density}
    return operands, keep, work, needed


def price_by_networkx(operands, keep, work, needed):
    """The price as a minimum cut of the whole graph, nothing settled or contracted before."""
    graph = nx.DiGraph()
    graph.add_nodes_from(["source", "sink"])
    for v in range(len(keep)):
        graph.add_edge((v, "in"), (v, "out"), capacity=keep[v])
        graph.add_edge("source", (v, "in"), **({} if work[v] is None else {"capacity": work[v]}))
        if work[v] is not None:
            graph.add_edges_from(((o, "out"), (v, "in")) for o in operands[v])
        if v in needed:
            graph.add_edge((v, "out"), "sink")
    return nx.minimum_cut_value(graph, "source", "sink")


def price_of(plan, operands, keep, work, needed):
    """What a plan costs: everything needed is kept, or computed from what is itself to be had."""
    price, seen, stack = 0, set(), list(needed)
    while stack:
        v = stack.pop()
        if v in seen:
            continue
        seen.add(v)
        if v in plan:
            price += keep[v]
        else:
            assert work[v] is not None
            price += work[v]
            stack.extend(operands[v])
    return price


@pytest.mark.parametrize("seed", range(300))
def test_plan_is_valid_and_least(seed):
    rng = random.Random(seed)
    problem = random_problem(rng, rng.randrange(1, 40), rng.choice([2, 5, 40]), rng.choice([0.05, 0.2, 0.5]))
    price, plan = keep_or_recompute(*problem)
    assert price == price_of(plan, *problem) == price_by_networkx(*problem)


def test_nothing_needed():
    assert keep_or_recompute([(), (0,)], [4, 4], [None, 1], []) == (0, set())


def test_keeping_the_small_ancestor():
    # 0 (small) -> 1 -> 2 (both large, cheap to compute): keep 0.
    assert keep_or_recompute([(), (0,), (1,)], [3, 100, 100], [None, 1, 1], [2]) == (5, {0})


def test_dear_work_is_kept():
    assert keep_or_recompute([(), (0,), (1,)], [3, 100, 100], [None, 70, 70], [2]) == (100, {2})


def test_deep_graphs_meet_no_recursion_limit():
    n = 30_000
    operands = [(v - 1,) if v else () for v in range(n)]
    keep = [10 + v for v in range(n)]
    price, plan = keep_or_recompute(operands, keep, [None] + [1] * (n - 1), [n - 1])
    assert (price, plan) == (10 + n - 1, {0})
