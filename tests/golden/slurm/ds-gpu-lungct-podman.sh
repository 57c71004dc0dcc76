#!/bin/bash
exec </dev/null
directory=/srv/storebase/.pman/jobs/chris-jid-6
finish() { echo "$?" >"$directory/rc.new" && mv "$directory/rc.new" "$directory/rc"; }
trap finish EXIT
if [ "${SLURM_RESTART_COUNT:-0}" != 0 ]; then
  echo "pman: a node failed or the job was preempted, and SLURM began it anew; a job runs only once"
  exit 75
fi
stop() { :; }
alone() {  # without what slurmd and the script have in their environment
  for name in $(compgen -e); do
    case $name in PATH | USER | LANG | CUDA_VISIBLE_DEVICES | SLURM_JOB_ID | SLURM_PROCID) ;; *) unset "$name" ;; esac
  done
}
more() {
  options=()
}

stop() { podman kill --signal KILL "pman-$SLURM_JOB_ID-$SLURM_PROCID"; }
run() {
  more
  set -- "$(command -v podman)" run --rm --name "pman-$SLURM_JOB_ID-$SLURM_PROCID" --log-driver none --mount type=bind,source=/srv/storebase/key-chris-jid-6/incoming,target=/share/incoming,readonly --mount type=bind,source=/srv/storebase/key-chris-jid-6/outgoing,target=/share/outgoing --cap-drop ALL --cap-add CHOWN --cap-add DAC_OVERRIDE --cap-add FOWNER --cap-add FSETID --cap-add KILL --cap-add SETGID --cap-add SETUID --security-opt no-new-privileges --cpus 4.0 --memory 16384m --memory-swap 16384m --shm-size 64m --user 1001:1002 "${options[@]}"
  for gpu in ${CUDA_VISIBLE_DEVICES//,/ }; do set -- "$@" --device "nvidia.com/gpu=$gpu"; done
  unset options
  export CHRIS_USER_TOKEN=vjecd9Rk
  export CUDA_VISIBLE_DEVICES=0
  export OMP_NUM_THREADS=4
  exec "$@" \
    --env CHRIS_USER_TOKEN \
    --env CUDA_VISIBLE_DEVICES \
    --env OMP_NUM_THREADS \
    --env HOME=/tmp \
    --entrypoint lungct docker.io/fnndsc/pl-lungct@sha256:4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f --inputImage chest-ct.nii.gz /share/incoming /share/outgoing
}

work() {
  trap 'stop >/dev/null 2>&1' TERM
  run &
  wait "$!"
  code=$?
  wait
  exit "$code"
}
work
