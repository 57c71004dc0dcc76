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

stop() { podman kill --signal KILL "pman-$SLURM_JOB_ID-$SLURM_PROCID"; }
run() {
  more
  for gpu in ${CUDA_VISIBLE_DEVICES//,/ }; do options+=(--device "nvidia.com/gpu=$gpu"); done
  exec podman run --rm --name "pman-$SLURM_JOB_ID-$SLURM_PROCID" --log-driver none --mount type=bind,source=/srv/storebase/key-chris-jid-6/incoming,target=/share/incoming,readonly --mount type=bind,source=/srv/storebase/key-chris-jid-6/outgoing,target=/share/outgoing --cap-drop ALL --cap-add CHOWN --cap-add DAC_OVERRIDE --cap-add FOWNER --cap-add FSETID --cap-add KILL --cap-add SETGID --cap-add SETUID --security-opt no-new-privileges --cpus 4.0 --memory 16384m --memory-swap 16384m --shm-size 64m --user 1001:1002 "${options[@]}" \
    --env-file <(printf "%s\n" "" CHRIS_USER_TOKEN=vjecd9Rk CUDA_VISIBLE_DEVICES=0 OMP_NUM_THREADS=4 HOME=/tmp) \
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
