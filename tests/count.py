#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the test cases in a meson test log and prints 'N passed, N failed, N skipped'.

Programs that speak TAP count by case, others as one. Exits 1 when something failed or nothing passed.
"""

import json
import re
import sys

TAP_LINE = re.compile(r"^(not )?ok\b(.*)$")


def count(test: dict) -> dict[str, int]:
    """Cases of one program by outcome."""
    found = {"passed": 0, "failed": 0, "skipped": 0}
    for line in (test.get("stdout") or "").splitlines():
        match = TAP_LINE.match(line)
        if match and re.search(r"#\s*skip", match.group(2), re.IGNORECASE):
            found["skipped"] += 1
        elif match:
            found["failed" if match.group(1) else "passed"] += 1
    result = test["result"]
    if not any(found.values()):
        outcome = {"OK": "passed", "EXPECTEDFAIL": "passed", "SKIP": "skipped"}.get(result, "failed")
        found[outcome] += 1
    elif result not in ("OK", "SKIP") and not found["failed"]:
        # It reported no failing case and failed all the same: a crash, a time-out, a sanitizer.
        found["failed"] += 1
    return found


def main() -> int:
    total = {"passed": 0, "failed": 0, "skipped": 0}
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as log:
            for line in log:
                for outcome, n in count(json.loads(line)).items():
                    total[outcome] += n
    print(", ".join(f"{n} {outcome}" for outcome, n in total.items()))
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
