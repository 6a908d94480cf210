"""What tests of walks share: the quick way past onnxsim, and the masks that a walk wrote."""

from __future__ import annotations

# onnxsim takes seconds: here it runs out of time at once, and the unsimplified graph is used.
QUICK = {"simplify_timeout_s": 0.001}


def masks_of(done) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(done.run.path("masks").glob("*.nii.gz"))}
