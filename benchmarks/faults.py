"""Does hashzoo keep what is finished, whatever happens to it? A campaign of faults, each with a look and a retry.

    python benchmarks/faults.py [--kills 300] [--refusals 60] [--truncations 100] [--jumps 60] [--only bench]
                                [--seed 0] [--seconds 3600] [--json]

Kills: `bench`, `datasets prepare`, `encode` and `report --bundle`, and one of two benches that share a runs folder
(together) or a cache (shared), are ended by SIGKILL, SIGTERM or SIGINT, at a change of a file or at a time, both at
random. Refusals: from some change of a file on the disk is full or cannot be written to, or files cannot grow beyond
some size. Jumps: the clock jumps by up to thirty years, back or forth. Truncations: a file of a runs folder, a cache
or a collection is cut off anywhere, and five commands read it. After each the claims are checked (see
tests/faults.py); one that does not hold is printed with what broke it, and the exit code is 1. Stopped with Ctrl-C, it
says what it has seen.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--refusals", type=int, default=60)
    parser.add_argument("--truncations", type=int, default=100)
    parser.add_argument("--jumps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=86_400, help="no trial begins later")
    parser.add_argument("--only", help="one of bench, prepare, encode, report, together, shared")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    import faults

    names = [asked.only] if asked.only else list(faults.SCENARIOS)
    seen: dict[str, Counter[str]] = {}
    broken: list[dict[str, str]] = []
    start = time.time()

    def note(what: str, fault: object, trial: object) -> None:
        try:
            outcome = trial()  # type: ignore[operator]
        except Exception as error:
            outcome = "BROKEN"
            said = str(error)[:2000] or traceback.format_exc()
            broken.append({"what": what, "fault": str(fault), "error": said})
            print(f"{what}, {fault}: {said}", file=sys.stderr, flush=True)
        seen.setdefault(what, Counter())[outcome] += 1
        if sum(map(Counter.total, seen.values())) % 20 == 0:
            print(f"{sum(map(Counter.total, seen.values()))} trials ...", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as place, faults.nursery(Path(place) / "site") as nursery:
        rng = random.Random(asked.seed)
        counts = {"kill": asked.kills, "refusal": asked.refusals, "jump": asked.jumps, "truncation": asked.truncations}
        trials = [(kind, n) for kind, count in counts.items() for n in range(count)]
        scenarios = [faults.SCENARIOS[name](nursery, Path(place)) for name in names if len(trials) > asked.truncations]
        rng.shuffle(trials)  # so that a campaign that is stopped has seen some of each
        cuts = faults.Truncations(nursery, Path(place)) if asked.truncations else None
        with contextlib.suppress(KeyboardInterrupt):
            for kind, number in trials:
                if time.time() - start > asked.seconds:
                    break
                if kind == "truncation":
                    assert cuts is not None
                    file = rng.choice(cuts.candidates())
                    length = rng.randrange((cuts.after / file).stat().st_size)
                    what = f"{file.parts[0]}/{file.parts[1] if file.parts[0] == 'cache' else file.name}"
                    note(f"truncation {what}", f"{file} at {length}", functools.partial(cuts.cut, file, length))
                    continue
                scenario = scenarios[number % len(scenarios)]
                fault = {"kill": scenario.faults, "refusal": scenario.refusals, "jump": scenario.jumps}[kind](rng)
                note(f"{kind} {scenario.name}", fault, functools.partial(scenario.trial, fault))
    usage = os.times()
    told = {
        "trials": sum(map(Counter.total, seen.values())),
        "seen": {what: dict(found) for what, found in sorted(seen.items())},
        "broken": broken,
        "seconds": round(time.time() - start, 1),
        "cpu_seconds": round(usage.user + usage.system + usage.children_user + usage.children_system, 1),
    }
    if asked.json:
        print(json.dumps(told, indent=2))
    else:
        for what, found in told["seen"].items():
            print(f"{what:40} {', '.join(f'{count} {outcome}' for outcome, count in sorted(found.items()))}")
        print(f"{told['trials']} trials, {len(broken)} broken claims, {told['cpu_seconds']} s of CPU")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
