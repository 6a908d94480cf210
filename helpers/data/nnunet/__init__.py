"""nnU-Net compatibility: plans, model folders, case names, preparing a case and restoring its mask."""
