# What pman has done on the other host: sh -c "$(cat remote.sh)" pman STATE VERB [JID [MORE [MORE]]]
#
# A job is a directory STATE/JID: job.sh and job.json as rendered; `started`, made by whoever starts it, once;
# `lock`, held as long as it runs; `pid`, its process group; `log`; `reason`, why pman ended it; `exit`, its code.
# Ends with 17 where the job is there already, 44 where it is not there.
set -eu
umask 077
state=$1 verb=$2 jid=${3-} more=${4-} last=${5-}
mkdir -p "$state"
cd "$state"

is_running() {
    test -e "$1/started" && ! flock -n -s "$1/lock" true
}

stop() {  # and what has not begun never will
    if mkdir "$1/started" 2>/dev/null; then echo "$2" >"$1/reason"; fi
    is_running "$1" || return 0
    echo "$2" >"$1/reason"
    until test -s "$1/pid"; do sleep 0.02; done
    kill -TERM "-$(cat "$1/pid")" 2>/dev/null || true
    for _ in $(seq 50); do
        is_running "$1" || return 0
        sleep 0.1
    done
    kill -KILL "-$(cat "$1/pid")" 2>/dev/null || true
    flock -s "$1/lock" true
}

case $verb in
inspect | logs | start | end | remove) test -d "$jid" || exit 44 ;;
esac

case $verb in
ping)
    uname -nsr
    ;;
create)  # standard input: job.sh and job.json, of MORE and MORE bytes; all of it, or the call was cut
    new=$(mktemp -d ./.new.XXXXXX)
    trap 'rm -rf "$new"' EXIT
    head -c "$more" >"$new/job.sh"
    cat >"$new/job.json"
    test "$(wc -c <"$new/job.json")" -eq "$last"
    touch "$new/lock" "$new/log"
    mv -T "$new" "$jid" 2>/dev/null || exit 17  # atomic: of many calls, one makes the job
    ;;
start)  # whoever holds the lock and makes `started` runs the job: once, however often this is called
    setsid -f sh -c '
        now() { date -u +\"%Y-%m-%dT%H:%M:%SZ\"; }
        cd "$1" && exec 9>lock && flock -n 9 && mkdir started 2>/dev/null || exit 0
        now >started/at
        trap : TERM
        sh job.sh >>log 2>&1 9>&- &
        echo $$ >pid
        while code=0; wait $! || code=$?; kill -0 $! 2>/dev/null; do :; done  # a signal ends a wait early
        echo "$code $(now)" >exit.new && mv exit.new exit' pman "$jid" </dev/null >/dev/null 2>&1
    for _ in $(seq 200); do
        if test -e "$jid/started"; then exit 0; fi
        sleep 0.02
    done
    echo "$jid could not be started" >&2
    exit 1
    ;;
inspect)
    running=false ended=false
    if is_running "$jid"; then running=true; fi
    if test -e "$jid/reason"; then ended=true; fi
    read -r code finished 2>/dev/null <"$jid/exit" || code=null finished=null
    started=$(cat "$jid/started/at" 2>/dev/null) || started=null
    printf '{"running": %s, "ended_by_pman": %s, "exit_code": %s, "started_at": %s, "finished_at": %s, "job": ' \
        "$running" "$ended" "$code" "${started:-null}" "$finished"
    cat "$jid/job.json"
    echo '}'
    ;;
logs)
    if test "$last" = follow && is_running "$jid"; then
        exec tail -n "$more" -f --pid="$(cat "$jid/pid")" "$jid/log"
    fi
    exec tail -n "$more" "$jid/log"
    ;;
end)
    stop "$jid" "$more"
    ;;
remove)
    stop "$jid" removed
    gone=$(mktemp -d ./.gone.XXXXXX)
    mv "$jid" "$gone" 2>/dev/null || exit 44
    rm -rf "$gone"
    ;;
list | active | created)
    for each in *; do
        test -d "$each" || continue
        case $verb in
        created) test ! -e "$each/started" || continue ;;
        active) test ! -e "$each/started" || is_running "$each" || continue ;;
        esac
        echo "$each"
    done
    ;;
esac
