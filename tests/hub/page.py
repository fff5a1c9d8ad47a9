"""Whether tests that need a browser can run here."""

import os

import pytest

from benchmarks.browser import CHROMIUM, DRIVER

REQUIRED = os.environ.get("HF_BERT4REC_BROWSER") == "required"
NEEDS_BROWSER = pytest.mark.skipif(
    (CHROMIUM is None or DRIVER is None) and not REQUIRED,
    reason="no Chromium: apt-get install chromium chromium-driver",
)
