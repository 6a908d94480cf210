#!/bin/bash
# Ten jobs make the masks of a tenth of the cases each; a last job joins them into one run with scores and report.
#
#     sbatch docs/examples/slurm_parts.sh unet3d_brats /shared/data/BraTS /shared/outputs
#
# Data and outputs are on a file system that every node reaches by the same path.
#SBATCH --job-name=cookbook
#SBATCH --array=1-10
#SBATCH --cpus-per-task=8
#SBATCH --mem=24G
#SBATCH --time=08:00:00
#SBATCH --output=cookbook-%A-%a.log
set -euo pipefail
recipe=$1 data=$2 outputs=$3

# The first job submits the one that waits for all of them; `afterok` keeps it from starting if a part failed.
if [ "$SLURM_ARRAY_TASK_ID" = 1 ]; then
    sbatch --dependency="afterok:$SLURM_ARRAY_JOB_ID" --job-name=cookbook-merge --cpus-per-task=8 --mem=24G \
        --wrap "cookbook merge $outputs/$recipe/cpu-*.part-*-of-$SLURM_ARRAY_TASK_COUNT"
fi

# The numerical libraries use the cores that Slurm gave.
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
cookbook run "$recipe" -p profile cpu -p data_root "$data" -p outputs "$outputs" \
    -p part "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
