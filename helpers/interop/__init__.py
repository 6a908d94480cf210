"""What other tools and other machines read and write: raw inputs and outputs, and the hand-over bundle."""
