#!/usr/bin/env bash
# Trains on a Cloud TPU slice of any size, on spot capacity unless SPOT is set empty:
#
#   ZONE=YOUR_ZONE NFS=FILER_ADDRESS:/SHARE launch/tpu_vm.sh NAME --config=configs/demo.py
#
# NAME names the slice and the run; all that follows goes to the program. The share (Filestore, say)
# is mounted on every host as /mnt/spotting: the run lives in its runs/NAME, and data sets may be
# anywhere in it. When the slice is preempted, another one is requested and the run goes on there.
# Whenever this script ends, the slice is given back. Keep it running somewhere that stays up (tmux
# on a small VM); it needs gcloud, logged in, with a default project.
#
# TYPE and RUNTIME choose the slice: v6e-8 with v2-alpha-tpuv6e, v5litepod-16 with
# v2-alpha-tpuv5-lite, ...
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ $# -lt 2 || -z "${ZONE:-}" || -z "${NFS:-}" ]]; then
  echo "usage: ZONE=zone NFS=host:/share [TYPE=v6e-8] [RUNTIME=v2-alpha-tpuv6e] [SPOT=] $0 NAME --config=FILE ..." >&2
  exit 2
fi
NAME=$1
shift
TYPE=${TYPE:-v6e-8}
RUNTIME=${RUNTIME:-v2-alpha-tpuv6e}
SPOT=${SPOT---spot}
POLL_SECONDS=${POLL_SECONDS:-60}
FAILURES_ALLOWED=5

# Empty where there is no such request; UNKNOWN when the question itself failed, which may pass.
state() {
  gcloud compute tpus queued-resources list --zone="$ZONE" --filter="name ~ /$NAME\$" \
    --format="value(state.state)" || echo UNKNOWN
}

request() {
  gcloud compute tpus queued-resources create "$NAME" --node-id="$NAME" --zone="$ZONE" \
    --accelerator-type="$TYPE" --runtime-version="$RUNTIME" ${SPOT:+"$SPOT"}
}

give_back() {
  gcloud compute tpus queued-resources delete "$NAME" --zone="$ZONE" --force --quiet
}

# A pseudo-terminal (-tt) ends the remote program with its connection, so that no second one is ever
# started beside it; keep-alives notice a host that has vanished.
on_every_host() {
  gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --worker=all --command="$1" \
    --ssh-flag=-tt --ssh-flag=-oServerAliveInterval=30 < /dev/null
}

install='set -e;
  mountpoint -q /mnt/spotting || {
    sudo apt-get -o DPkg::Lock::Timeout=600 update -q;
    sudo apt-get -o DPkg::Lock::Timeout=600 install -qy nfs-common;
    sudo mkdir -p /mnt/spotting;
    sudo mount -t nfs -o hard '$NFS' /mnt/spotting; };
  mkdir -p spotting && tar -xzf spotting.tar.gz -C spotting && cd spotting;
  python3 -m pip install -q --user uv;
  test -d .venv || ~/.local/bin/uv venv -q --python 3.12;
  ~/.local/bin/uv pip install -q --require-hashes --requirement launch/locks/tpu.txt;
  ~/.local/bin/uv pip install -q --no-deps --no-build-isolation --editable .'

# As root, because the user's number may differ from one slice to the next, and with it the right to
# go on writing the run's files.
program="cd spotting && sudo .venv/bin/python -m spotting.main --workdir=/mnt/spotting/runs/$NAME \
--config.devices.distributed=True $(printf '%q ' "$@")"

train() {
  gcloud compute tpus tpu-vm scp "$archive" "$NAME:spotting.tar.gz" --zone="$ZONE" --worker=all &&
    on_every_host "$install" &&
    on_every_host "$program"
}

# What failed may pass; too many failures in a row, and the script ends with the last one's status.
failures=0
failed() {
  failures=$((failures + 1))
  if ((failures > FAILURES_ALLOWED)); then exit "$1"; fi
  sleep "$POLL_SECONDS"
}

# Packed once, so that every slice runs the same sources.
packed=$(mktemp -d)
archive=$packed/spotting.tar.gz
trap 'rm -r "$packed"' EXIT
git ls-files -z --cached --others --exclude-standard | tar -czf "$archive" --null -T -

trap 'rm -r "$packed"; give_back || true' EXIT

while true; do
  case "$(state)" in
    "") request || failed $? ;;
    ACTIVE)
      status=0
      train || status=$?
      # 0: finished. 2: bad usage or input, which no other slice would cure. Anything else may be a
      # preemption: the slice can call itself active for a while after it.
      case $status in 0 | 2) exit "$status" ;; esac
      failed "$status"
      ;;
    SUSPENDED)
      failures=0
      give_back || failed $?
      ;;
    FAILED)
      give_back || true
      failed 1
      ;;
    *) sleep "$POLL_SECONDS" ;;
  esac
done
