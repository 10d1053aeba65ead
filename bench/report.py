"""Percentiles, the table, and what was aimed at."""

HIGHER_IS_BETTER = ("upload", "download", "MB/s")


def percentile(values, share):
    """By the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * share // 100) - 1))]


def summary(series):
    return {name: {"n": len(v), "p50": round(percentile(v, 50), 2), "p99": round(percentile(v, 99), 2),
                   "min": round(min(v), 2), "max": round(max(v), 2)} for name, v in sorted(series.items())}


def unit(name):
    if name.endswith("rss"):
        return "MB"
    return "MB/s" if name.endswith(HIGHER_IS_BETTER) else "ms"


def baseline(name):
    """The series that a series is divided by."""
    parts = name.split(" ", 2)
    if parts[0] == "atoll":
        return f"bare {'crun' if parts[1] == 'container' else 'runsc'} {parts[2]}"
    if parts[0] == "transfer" and not parts[2].startswith("plain"):
        return f"transfer {parts[1]} plain {parts[2]}"
    return None


def print_table(result):
    table = result["summary"]
    print("| what | unit | n | p50 | p99 | min | max | p50 / baseline |")
    print("|---|---|---|---|---|---|---|---|")
    for name, row in table.items():
        other = table.get(baseline(name) or "")
        ratio = f"{row['p50'] / other['p50']:.2f}" if other and other["p50"] else ""
        print(f"| {name} | {unit(name)} | {row['n']} | {row['p50']:.2f} | {row['p99']:.2f} | {row['min']:.2f} | {row['max']:.2f} | {ratio} |")
    for name, why in result["absent"].items():
        print(f"\nabsent: {name}: {why}")
    for name, why in result["failures"].items():
        print(f"\nfailed rounds of bare {name}: {len(why)}, the first: {why[0]}")
    print(f"\nload (1 min) before and after: {result['load1']}\n")


def goals(table):
    """[goal, aimed at, found, met]; only of what was measured."""
    out = []

    def judge(what, limit, found, unit_name, at_least=False):
        met = found >= limit if at_least else found <= limit
        out.append({"goal": what, "limit": limit, "found": round(found, 2), "unit": unit_name, "met": met})

    for tier, runtime in (("container", "crun"), ("gvisor", "runsc")):
        create, bare = table.get(f"atoll {tier} create"), table.get(f"bare {runtime} run")
        if create and bare:
            judge(f"{tier}: create adds to a bare `{runtime} run /bin/true`", 15, create["p50"] - bare["p50"], "ms")
    if row := table.get("exec container overhead"):
        judge("container: a command's overhead", 3, row["p50"], "ms")
    for name in ("upload", "download"):
        if row := table.get(f"transfer container {name}"):
            judge(f"container: {name} of 100 MiB", 500, row["p50"], "MB/s", at_least=True)
    for name in ("edge rss", "init rss"):
        if row := table.get(f"stream container {name}"):
            judge(f"container: growth of {name} while streaming", 16, row["max"] - row["min"], "MB")
    return out


def print_goals(found):
    for goal in found:
        print(f"{'met   ' if goal['met'] else 'MISSED'} {goal['goal']}: {goal['found']} {goal['unit']} (goal {goal['limit']})")
