"""exits.py CODE COMMAND...: succeeds where the command's exit code is CODE.

`not` cannot tell wrong input (2) from a failed check (1).
"""

import subprocess
import sys

expected = int(sys.argv[1])
code = subprocess.run(sys.argv[2:]).returncode
if code != expected:
    sys.exit(f"exit code {code}, not {expected}: {' '.join(sys.argv[2:])}")
