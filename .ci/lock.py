"""Turn pip's report of an installation (standard input) into pins with hashes (standard output).

The hashes are those of the files that pip chose here, so that the lock holds for this platform and Python.
"""

import json
import sys

print("# make lock: every file that an installation takes, by hash: pip install --require-hashes -r requirements.lock")
for one in sorted(json.load(sys.stdin)["install"], key=lambda one: one["metadata"]["name"].lower()):
    archive = one["download_info"].get("archive_info")
    if archive:  # the project itself is a folder
        name, version = one["metadata"]["name"], one["metadata"]["version"]
        print(f"{name}=={version.partition('+')[0]} --hash=sha256:{archive['hashes']['sha256']}")
