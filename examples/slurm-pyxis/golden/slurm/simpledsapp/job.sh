#!/bin/bash
exec </dev/null
directory=/scratch/chris/.pman/jobs/chris-jid-42
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
  options+=(--no-container-remap-root --container-writable --container-workdir=/tmp)
}

run() {
  more
  set -- "$(command -v srun)" --ntasks 1 --cpus-per-task 1 --kill-on-bad-exit=0 "${options[@]}" \
    --container-image 'docker.io#fnndsc/pl-simpledsapp:2.1.0' --no-container-entrypoint --no-container-mount-home \
    --container-mounts /scratch/chris/key-chris-jid-42/incoming:/share/incoming:ro,/scratch/chris/key-chris-jid-42/outgoing:/share/outgoing
  names=()
  names+=(CHRIS_USER_TOKEN)
  set -- "$@" --container-env "$(IFS=,; echo "${names[*]}")"
  unset options names  # an array is not exported, whatever a job's variable of that name is
  export 'CHRIS_USER_TOKEN=********'
  exec "$@" simpledsapp --prefix le- --sleepLength 5 /share/incoming /share/outgoing
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
