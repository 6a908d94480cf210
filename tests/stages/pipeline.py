"""Helpers for tests of the pipeline: parameters that skip onnxsim, and the masks of a run."""

from __future__ import annotations

# onnxsim takes seconds: here it times out immediately, and the unsimplified graph is used.
QUICK = {"simplify_timeout_s": 0.001}


def masks_of(done) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(done.run.path("masks").glob("*.nii.gz"))}
