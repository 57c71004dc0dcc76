#!/bin/bash
exec </dev/null
directory=/srv/storebase/.pman/jobs/chris-jid-6
finish() { echo "$?" >"$directory/rc.new" && mv "$directory/rc.new" "$directory/rc"; }
trap finish EXIT
if ! mkdir "$directory/begun" 2>/dev/null && [ -e "$directory/begun" ]; then
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

run() {
  more
  set -- "$(command -v srun)" --ntasks 1 --cpus-per-task 4 --kill-on-bad-exit=0 "${options[@]}" \
    --container-image 'docker.io#fnndsc/pl-lungct@sha256:4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f' --no-container-entrypoint --no-container-mount-home \
    --container-mounts /srv/storebase/key-chris-jid-6/incoming:/share/incoming:ro,/srv/storebase/key-chris-jid-6/outgoing:/share/outgoing
  names=()
  names+=(CHRIS_USER_TOKEN)
  names+=(CUDA_VISIBLE_DEVICES)
  names+=(OMP_NUM_THREADS)
  names+=(HOME)
  set -- "$@" --container-env "$(IFS=,; echo "${names[*]}")"
  unset options names  # an array is not exported, whatever a job's variable of that name is
  export CHRIS_USER_TOKEN=vjecd9Rk
  export CUDA_VISIBLE_DEVICES=0
  export OMP_NUM_THREADS=4
  export HOME=/tmp
  exec "$@" lungct --inputImage chest-ct.nii.gz /share/incoming /share/outgoing
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
