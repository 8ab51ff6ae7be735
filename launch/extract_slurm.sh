#!/usr/bin/env bash
# Makes features of many videos on a Slurm cluster, a share of the games in each task of an array:
#
#   sbatch --array=0-7 launch/extract_slurm.sh --video=SoccerNet --output=features
#
# All arguments go to the program. Submit it from the repository, on a file system that all nodes
# share; the environment (.venv, or $VENV) is looked up there. Features that are there are kept, so
# the same line resumes what was stopped.
#
#SBATCH --job-name=extract
#SBATCH --output=%x-%A-%a.log
#SBATCH --open-mode=append
#SBATCH --gpus-per-task=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --requeue

set -u

if [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
  echo "submit it as an array: sbatch --array=0-7 $0 ..." >&2
  exit 2
fi
# shellcheck disable=SC2153 # Slurm sets both.
shard="$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN))/$SLURM_ARRAY_TASK_COUNT"
exec "${VENV:-.venv}/bin/python" -m spotting.extract --shard="$shard" "$@"
