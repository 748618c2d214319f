# What up and down share: where things lie, and which processes are ours. Sourced, never run.
#
# The state folder (test/infra/.state, or CHATTING_TEST_INFRA_DIR) holds:
#
#   libs/                  the jars; `down` keeps them
#   env                    the lines that `up` prints; there only while everything was seen answering
#   brokers                how many brokers the cluster has
#   broker-N.pid           the process of broker N, for tests that stop or kill it
#   broker-N.start         starts broker N again, in the background, after a test killed it
#   broker-N/              its configuration, data and log
#   security/              with --security: ca.pem, other-ca.pem (trusted by nobody), client.pem and client.key. The user of
#                          every SASL mechanism is chatting, its password test-only-password
#   postgres.dir           names the folder of PostgreSQL's data and log
#   postgres.pid           its process

# Of the caller, before it changes folder: a relative CHATTING_TEST_INFRA_DIR counts from there.
infra_dir=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
state=${CHATTING_TEST_INFRA_DIR:-$infra_dir/.state}
mkdir -p -- "$state"
state=$(cd -- "$state" && pwd -P)

say() { printf '%s\n' "test/infra: $*" >&2; }
die() {
    say "$*"
    exit 1
}

# One up or down at a time for a state folder. What is started in the background closes 9, or it would keep the lock.
lock() {
    exec 9>"$state/lock"
    flock -w 600 9 || die "another up or down has held $state/lock for ten minutes"
}

# is_ours PIDFILE ARGUMENT: whether the process that the file names runs and has exactly ARGUMENT on its command line. A
# pid alone proves nothing: it may have been given to somebody else since. A killed process that its parent did not
# collect has an empty command line, and so does not count as running.
is_ours() {
    local pid
    pid=$(cat -- "$1" 2>/dev/null) || return 1
    [[ $pid =~ ^[0-9]+$ ]] && grep -zFxqs -- "$2" "/proc/$pid/cmdline"
}

# The argument that only broker N of this state folder has.
broker_mark() { printf '%s' "$state/broker-$1/server.properties"; }

# stop PIDFILE ARGUMENT SIGNAL: ends that process and waits until it is gone.
stop() {
    local pid
    is_ours "$1" "$2" || return 0
    pid=$(cat -- "$1")
    kill -s "$3" -- "$pid" 2>/dev/null || true
    for _ in $(seq 300); do
        is_ours "$1" "$2" || return 0
        sleep 0.1
    done
    return 1
}
