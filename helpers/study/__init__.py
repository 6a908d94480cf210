"""What compares: parity of every form of a model, precision, speed. It uses everything; nothing uses it."""

from helpers.study.parity import Agreement, check_parity, compare_outputs
from helpers.study.parity_stage import check_model_parity

__all__ = ["Agreement", "check_model_parity", "check_parity", "compare_outputs"]
