"""nnU-Net's habits: its plans, model folders, names of cases, and how it prepares a case and brings a mask back."""
