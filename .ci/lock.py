"""Turn pip's report of an installation (standard input) into pins with hashes (standard output).

The hashes are of the files that pip chose here, so the lock is for this platform and Python version.
"""

import json
import sys

print("# make lock: every file that an installation takes, by hash: pip install --require-hashes -r requirements.lock")
for package in sorted(json.load(sys.stdin)["install"], key=lambda package: package["metadata"]["name"].lower()):
    archive = package["download_info"].get("archive_info")
    if archive:  # the project itself is a folder
        name, version = package["metadata"]["name"], package["metadata"]["version"]
        print(f"{name}=={version.partition('+')[0]} --hash=sha256:{archive['hashes']['sha256']}")
