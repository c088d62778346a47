#!/usr/bin/env python3
"""rows.py N LONGEST [SEED] - N rows {"input_ids": [...]} for a vocabulary of 256: counting up by a step that
the row's second id says, so that there is something to learn."""
import json
import random
import sys

n, longest = int(sys.argv[1]), int(sys.argv[2])
draw = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
for _ in range(n):
    step, at = draw.randrange(1, 4), draw.randrange(3, 250)
    ids = [1, step + 2]
    for _ in range(draw.randrange(4, longest - 2)):
        ids.append(at)
        at = 3 + (at + step) % 250
    print(json.dumps({"input_ids": ids}))
