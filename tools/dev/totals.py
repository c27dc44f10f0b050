#!/usr/bin/env python3
"""Adds up meson's test logs: prints `N passed, N failed, N skipped`; fails when any failed or none ran."""
import json
import sys

passed = failed = skipped = 0
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as log:
        for line in log:
            test = json.loads(line)
            if test["result"] in ("OK", "EXPECTEDFAIL"):
                passed += 1
            elif test["result"] == "SKIP":
                skipped += 1
                print(f"skipped: {test['name']}: {test['stdout'].strip().splitlines()[-1:]}")
            else:
                failed += 1
                print(f"failed: {test['name']} ({path.split('/')[-3]}): {test['result']}")
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if failed or not passed else 0)
