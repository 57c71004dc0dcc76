#!/bin/sh
# For slurm-docker.conf, on each compute node: Epilog=/etc/slurm/epilog.d/pman.sh in slurm.conf.
#
# A container is none of the processes of its job. The job's script hands SIGTERM on to it, but where
# SIGKILL comes first (scancel --signal=KILL, a node that is out of memory), nothing of the script runs
# any more, and the container goes on with cores and memory that SLURM gives to the next job.
#
# It runs as root. Where Podman runs rootless: engine="runuser -u $SLURM_JOB_USER -- podman".
PATH=$PATH:/usr/local/bin:/usr/bin:/bin
engine=${CONTAINER_ENGINE:-docker}
left=$($engine ps --all --quiet --filter "name=^/?cromwell_.*-$SLURM_JOB_ID-[0-9]+\$")
# shellcheck disable=SC2086  # several
test -z "$left" || $engine rm --force $left
exit 0  # anything else drains the node
