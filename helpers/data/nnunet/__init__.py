"""nnU-Net compatibility: plans, model folders, case names, the preparation of a case and the way back of its mask."""
