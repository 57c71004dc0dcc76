#!/bin/bash
# shellcheck disable=SC2034,SC2317  # a site's blocks may use what those that pman ships do not
exec </dev/null
directory=/srv/storebase/.pman/jobs/chris-jid-6
apart=  # yes: run finds the directories at "$incoming" and "$outgoing" once it has entered by "${inside[@]}"
anew=
finish() {  # the first code stands, but for that of a run that is no more than this: the one before may still be ending
  echo "$?" >"$directory/rc.$$" && mv ${anew:--n} "$directory/rc.$$" "$directory/rc"
}
trap finish EXIT
if ! mkdir "$directory/begun" 2>/dev/null && [ -e "$directory/begun" ]; then
  anew=-f
  echo "pman: a node failed or the job was preempted, and SLURM began it anew; a job runs only once"
  exit 75
fi
stop() { :; }
alone() {  # without what slurmd and the script have in their environment
  for name in $(compgen -e); do
    case $name in PATH | USER | LANG | CUDA_VISIBLE_DEVICES | SLURM_JOB_ID | SLURM_PROCID) ;; *) unset "$name" ;; esac
  done
}
refuse() {  # a sentence, which pman reads: the job is not run
  echo "pman: $1" >&2
  printf %s "$1" >"$directory/asked"
  exit 78
}
compare() {  # the open directory $1 is $3 in the storebase itself, and none that pman keeps its jobs in
  local base real own
  base=$(cd -P /srv/storebase && pwd -P)
  real=$(readlink "/proc/self/fd/$1")
  [ "$real" = "${base%/}/$3" ] || refuse "$2 leads elsewhere by a link: ${base%/}/$3 is $real"
  own=$(cd -P "$directory/../.." && pwd -P)
  for own in "$own"/{jobs,aside,images}; do
    [[ $own/ != "$real"/* && $real/ != "$own"/* ]] || refuse "$2: the directories of the jobs are there, in $own"
  done
}
hold() {
  exec 8</srv/storebase/key-chris-jid-6/incoming/. || refuse "input_dir cannot be opened on the node"
  exec 9</srv/storebase/key-chris-jid-6/outgoing/. || refuse "output_dir cannot be opened on the node"
  compare 8 input_dir key-chris-jid-6/incoming
  compare 9 output_dir key-chris-jid-6/outgoing
}
more() {
  options=()
}

stop() {
  podman kill --signal KILL "pman-$SLURM_JOB_ID-$SLURM_PROCID" || podman rm --force "pman-$SLURM_JOB_ID-$SLURM_PROCID"
}
run() {
  local said pid root
  more
  for gpu in ${CUDA_VISIBLE_DEVICES//,/ }; do options+=(--device "nvidia.com/gpu=$gpu"); done
  podman create --rm --name "pman-$SLURM_JOB_ID-$SLURM_PROCID" --log-driver none --mount type=bind,source=/srv/storebase/key-chris-jid-6/incoming,target=/share/incoming,readonly --mount type=bind,source=/srv/storebase/key-chris-jid-6/outgoing,target=/share/outgoing --cap-drop ALL --cap-add CHOWN --cap-add DAC_OVERRIDE --cap-add FOWNER --cap-add FSETID --cap-add KILL --cap-add SETGID --cap-add SETUID --security-opt no-new-privileges --cpus 4.0 --memory 16384m --memory-swap 16384m --shm-size 64m --pids-limit 4096 --user 1001:1002 "${options[@]}" \
    --env-file <(printf "%s\n" "" CHRIS_USER_TOKEN=vjecd9Rk CUDA_VISIBLE_DEVICES=0 OMP_NUM_THREADS=4 HOME=/tmp) \
    --entrypoint lungct docker.io/fnndsc/pl-lungct@sha256:4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f --inputImage chest-ct.nii.gz /share/incoming /share/outgoing >/dev/null || exit
  set -- "pman-$SLURM_JOB_ID-$SLURM_PROCID"
  if ! said=$(podman init "$1" 2>&1); then
    echo "$said" >&2
    podman rm --force "$1" >/dev/null 2>&1
    case $said in *"command that was not found"*) exit 127 ;; *"OCI permission denied"*) exit 126 ;; *) exit 125 ;; esac
  fi
  pid=$(podman inspect --format '{{.State.Pid}}' "$1")
  seen=/proc/$pid/root said=
  if [ -L "$seen/share" ] || [ -L "$seen/share/incoming" ] || [ -L "$seen/share/outgoing" ]; then  # this shell would follow it on the node
    said="the image has a link at /share, /share/incoming or /share/outgoing, where the directories of a job are mounted"
  elif ! [ "$seen/share/incoming" -ef "/proc/$$/fd/8" ] || ! [ "$seen/share/outgoing" -ef "/proc/$$/fd/9" ]; then
    said="input_dir or output_dir became a link while the job began, or Podman runs elsewhere than the job"
  fi
  if [ "$said" ]; then
    podman rm --force "$1" >/dev/null 2>&1
    refuse "$said"
  fi
  exec podman start --attach "$1"
}

work() {
  if [ "$apart" ]; then enter; else hold; fi
  trap 'stop >/dev/null 2>&1' TERM
  run 8<&- 9<&- &
  worker=$!
  wait "$worker"
  code=$?
  wait "$worker"
  [ -z "$keeper" ] || kill "$keeper"
  exit "$code"
}
work
