"""Results as Markdown: one table of times and ratios, one of first calls, and the machine they belong to.

Imports: `peers` (the order of the columns), the standard library.
"""

from .peers import NAMES


def tables(results):
    """The whole report of a run's results (the dict that `--out` writes)."""
    cases = results["cases"]
    columns = [n for n in _families(NAMES) if any(n in _families(case["peers"]) for case in cases)]
    machine, threads = results["machine"], results["threads"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return "\n".join([
        f"{machine['cpu']}, {threads} threads, Python {machine['python']}; {versions}.",
        "Microseconds a call, the minimum of the samples; in brackets the time over the first column's.", "",
        *_table(cases, columns, "min_us", _number, ratios=True), "",
        "First call in milliseconds: building, tracing, compiling, running once; nothing cached on disk.", "",
        *_table(cases, columns, "first_s", lambda s: f"{s * 1e3:,.0f}"),
    ])


def line(name, record):
    """One peer's result in one case, for the progress of a run."""
    if record["status"] != "ok":
        return f"  {name:20} {record['status']}: {record['why']}"
    steady = f"{_number(record['min_us']):>10} us" if "min_us" in record else ""
    return f"  {name:20} {steady}  first call {record['first_s'] * 1e3:,.0f} ms, error {record['error']:.1e}"


def _table(cases, columns, key, text, ratios=False):
    yield "| workload | " + " | ".join(columns) + " |"
    yield "|---|" + "---:|" * len(columns)
    for case in cases:
        found = [_fastest(case["peers"], column) for column in columns]
        base = next((record[key] for _, record in found if key in record), None)
        cells = [_cell(variant, record, key, text, base if ratios else None) for variant, record in found]
        yield f"| {case['title']}, {case['case']} | " + " | ".join(cells) + " |"


def _cell(variant, record, key, text, base):
    if key not in record:
        return record.get("status", "")
    ratio = f" ({record[key] / base:.2f})" if base else ""
    return text(record[key]) + ratio + (f" {variant}" if variant else "")


def _fastest(peers, family):
    """(variant, record) of a peer's fastest variant in a case."""
    mine = {name: record for name, record in peers.items() if name.partition(":")[0] == family}
    if not mine:
        return "", {}
    name = min(mine, key=lambda n: mine[n].get("min_us", float("inf")))
    return name.partition(":")[2], mine[name]


def _families(names):
    return list(dict.fromkeys(name.partition(":")[0] for name in names))


def _number(us):
    return f"{us:.3g}" if us < 1000 else f"{us:,.0f}"
