#!/bin/bash
# shellcheck disable=SC2034,SC2317  # a site's blocks may use what those that pman ships do not
exec </dev/null
directory=/srv/storebase/.pman/jobs/chris-jid-1
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
  exec 8</srv/storebase/key-chris-jid-1/incoming/. || refuse "input_dir cannot be opened on the node"
  exec 9</srv/storebase/key-chris-jid-1/outgoing/. || refuse "output_dir cannot be opened on the node"
  compare 8 input_dir key-chris-jid-1/incoming
  compare 9 output_dir key-chris-jid-1/outgoing
}
bind() {  # what is open as $1 at $2; by perl where the node has no program for it
  local number
  case $(uname -m) in x86_64) number=165 ;; ppc64le | s390x) number=21 ;; *) number=40 ;; esac
  if command -v mount >/dev/null; then
    mount --no-canonicalize --bind "/proc/self/fd/$1" "$2"
  else
    perl -e 'my ($n, $s, $t) = @ARGV; my $none = ""; syscall($n + 0, $s, $t, $none, 4096, 0)' \
      "$number" "/proc/self/fd/$1" "$2"
  fi
  [ "/proc/self/fd/$1" -ef "$2" ] || refuse "a node lets no job mount a directory"
}
keep() {  # a mount namespace, in which the directories are where nothing else can be
  hold
  mkdir -p "$directory/begun/incoming" "$directory/begun/outgoing"
  bind 8 "$directory/begun/incoming"
  bind 9 "$directory/begun/outgoing"
  exec 8<&- 9<&-
  echo "$$"
  exec sleep infinity
}
enter() {
  local user=() back=()
  if [ "$EUID" != 0 ]; then
    user=(--user --preserve-credentials)
    back=("$(command -v unshare)" --user --map-user="$EUID" --map-group="$(id -g)")
  fi
  exec 7< <(exec unshare --mount ${user:+--map-root-user} bash -c "$(declare -p directory; declare -f refuse compare hold bind keep); keep")
  if ! read -r keeper <&7; then
    [ -e "$directory/asked" ] || refuse "a node lets no job have a mount namespace (unshare --mount)"
    exit 78
  fi
  exec 7<&-
  inside=("$(command -v nsenter)" --target "$keeper" --mount "${user[@]}" "${back[@]}")
  incoming=$directory/begun/incoming outgoing=$directory/begun/outgoing
}
more() {
  options=()
}

apart=yes
run() {
  export USER=${USER:-$(id -un)}
  ch-image list localhost/fnndsc/pl-simpledsapp:1.0.3 >/dev/null 2>&1 || ch-image pull localhost/fnndsc/pl-simpledsapp:1.0.3 || exit 125
  more
  set -- "${inside[@]}" "$(command -v ch-run)" "${options[@]}" --bind "$incoming:/share/incoming" --bind "$outgoing:/share/outgoing"
  alone
  unset options
  export CHRIS_USER_TOKEN=vjecd9Rk
  export HOME=/tmp
  exec "$@" --write-fake --cd / localhost/fnndsc/pl-simpledsapp:1.0.3 -- simpledsapp --prefix le --sleepLength 2 /share/incoming /share/outgoing
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
