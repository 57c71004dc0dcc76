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
  export APPTAINERENV_CUDA_VISIBLE_DEVICES="$CUDA_VISIBLE_DEVICES"
  export APPTAINERENV_CHRIS_USER_TOKEN=vjecd9Rk
  export APPTAINERENV_CUDA_VISIBLE_DEVICES=0
  export APPTAINERENV_OMP_NUM_THREADS=4
  exec apptainer exec --containall --writable-tmpfs --no-eval --pwd / \
    --mount type=bind,source=/srv/storebase/key-chris-jid-6/incoming,destination=/share/incoming,ro \
    --mount type=bind,source=/srv/storebase/key-chris-jid-6/outgoing,destination=/share/outgoing \
    --nv "${options[@]}" docker://docker.io/fnndsc/pl-lungct@sha256:4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f \
env HOME=/tmp lungct --inputImage chest-ct.nii.gz /share/incoming /share/outgoing
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
