#!/usr/bin/env bash
# A real SLURM of one node on this machine, for tests/test_slurm.py: `one_node.sh start FOLDER`, `one_node.sh stop FOLDER`.
# Needs root and the distribution's packages (Debian, Ubuntu: slurm-wlm, munge; `one_node.sh install`). FOLDER keeps state and logs.
# The configuration is written to SLURM's default place, since Snakemake's jobs do not pass SLURM_CONF on.
set -euo pipefail

CONFIG=/etc/slurm/slurm.conf
MARK="# written by fewbits' tests/slurm/one_node.sh"

usage() { sed -n '2,4s/^# //p' "$0"; exit 2; }

install() {
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends slurm-wlm munge
}

configuration() { # cgroups are not used: cores and memory are allotted, not enforced
  local host memory
  host=$(hostname -s)
  memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
  cat <<END
$MARK
ClusterName=fewbits
SlurmctldHost=$host
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$1/state
SlurmdSpoolDir=$1/spool
SlurmctldPidFile=$1/slurmctld.pid
SlurmdPidFile=$1/slurmd.pid
SlurmctldLogFile=$1/log/slurmctld.log
SlurmdLogFile=$1/log/slurmd.log
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
ReturnToService=2
SlurmctldPort=16817
SlurmdPort=16818
MinJobAge=3600
NodeName=$host CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
}

start() {
  local folder=$1
  if [ -e "$CONFIG" ] && ! grep -qF "$MARK" "$CONFIG"; then
    echo "$CONFIG: this machine has a SLURM of its own; not touched" >&2
    exit 1
  fi
  mkdir -p "$folder"/{state,spool,log} /run/munge /etc/slurm
  configuration "$folder" >"$CONFIG"
  chown munge: /run/munge
  munge -n >/dev/null 2>&1 || setpriv --reuid munge --regid munge --clear-groups munged --force
  slurmctld -c
  slurmd
  for _ in $(seq 30); do
    sinfo --noheader --format %t 2>/dev/null | grep -q idle && return
    sleep 1
  done
  echo "SLURM did not come up; see $folder/log" >&2
  exit 1
}

stop() {
  local name
  for name in slurmd slurmctld; do
    if [ -e "$1/$name.pid" ]; then kill "$(cat "$1/$name.pid")" 2>/dev/null || true; fi
  done
  if grep -qsF "$MARK" "$CONFIG"; then rm "$CONFIG"; fi
}

case "${1:-}" in
  install) install ;;
  start | stop) [ $# = 2 ] || usage; "$1" "$(realpath -m "$2")" ;;
  *) usage ;;
esac
