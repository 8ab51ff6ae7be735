#!/usr/bin/env bash
# Trains on a Slurm cluster; all arguments go to the program:
#
#   sbatch launch/slurm.sh --config=configs/demo.py
#   sbatch --nodes=2 --ntasks-per-node=8 --gpus-per-node=8 launch/slurm.sh --config=configs/demo.py
#
# Submit it from the repository, on a file system that all nodes share: the default workdir
# (runs/...) and the environment (.venv, or $VENV) are looked up there. JAX under Slurm drives one
# GPU per task, so --ntasks-per-node and --gpus-per-node are the same number.
#
#SBATCH --job-name=spotting
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@120

set -u

# A preempted job, or one whose node failed, is put back in the queue by Slurm itself (--requeue).
# At its time limit it would not be: two minutes before, Slurm signals this shell, which asks.
trap 'scontrol requeue "$SLURM_JOB_ID"' USR1

# srun no longer takes over --cpus-per-task from sbatch by itself (since Slurm 22.05).
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"

srun --kill-on-bad-exit=1 "${VENV:-.venv}/bin/python" -m spotting.main \
  --config.devices.distributed=True "$@" &

# The signal ends the first wait; the second lasts until the requeue ends the job. Any other end of
# the program gives its exit status through both.
wait $! || wait $!
