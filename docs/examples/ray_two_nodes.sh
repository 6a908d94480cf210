# Two nodes, one Ray cluster, masks from both. Not a script: each block is for one terminal.
#
# Both nodes have the same version of the cookbook with the extra `ray`, and see data, weights and outputs under the
# same paths. Ray encrypts nothing, and a holder of the token can run programs: use a private network.

# On both nodes: the same token, for this terminal and those below. Copy it by a safe way.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=...        # first node: openssl rand -hex 32

# First node (10.0.0.1). NPUs and GPUs are found; MLUs are counted by hand.
ray start --head --node-ip-address 10.0.0.1 --port 6379 --include-dashboard false
#   with MLUs: ray start --head ... --resources '{"MLU": 8}'

# Second node.
ray start --address 10.0.0.1:6379

# First node again: one actor per device of both nodes.
cookbook run unet3d_brats -p profile ascend310p3 -p data_root /shared/BraTS -p outputs /shared/outputs \
    -p engine ray -p ray_address auto -p on_error continue

# Any machine that sees the outputs.
watch -n 30 cookbook status /shared/outputs/unet3d_brats/ascend310p3-*

# Both nodes, at the end.
ray stop
