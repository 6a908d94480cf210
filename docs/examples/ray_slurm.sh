#!/bin/bash
# A Ray cluster within one Slurm job: one Ray process per node, and the cookbook on the first.
#
#     sbatch docs/examples/ray_slurm.sh unet3d_brats /shared/data/BraTS /shared/outputs
#SBATCH --job-name=cookbook-ray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=08:00:00
set -euo pipefail
recipe=$1 data=$2 outputs=$3
port=6379
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | awk '{print $1}')
RAY_AUTH_TOKEN=$(openssl rand -hex 32)
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0

srun --nodes=1 --ntasks=1 -w "$head" ray start --head --node-ip-address "$address" --port $port \
    --include-dashboard false --num-cpus "$SLURM_CPUS_PER_TASK" --block &
sleep 15
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude "$head" \
        ray start --address "$address:$port" --num-cpus "$SLURM_CPUS_PER_TASK" --block &
    sleep 15
fi

# One actor per node on CPU targets; `-p ray_actors` sets another number.
RAY_ADDRESS=$address:$port srun --overlap --nodes=1 --ntasks=1 -w "$head" \
    cookbook run "$recipe" -p profile cpu -p data_root "$data" -p outputs "$outputs" \
    -p engine ray -p ray_address auto -p on_error continue
