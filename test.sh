#!/usr/bin/env bash
# Runs every check and every test, on both sides, on a Debian machine that has a Rust toolchain.
# Servers that tests need are installed from Debian's packages when missing, started here on free loopback ports with
# their data under a temporary directory, and stopped again, also when this is interrupted.
set -euo pipefail
cd "$(dirname "$0")"
# A change's tests do not fail by chance: whoever looks for what other inputs find says another seed, or runs cargo test.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-1}

usage() {
    cat <<'TXT'
usage: ./test.sh [--embedded | --servers] [-- ARGUMENTS OF CARGO TEST]
  (nothing)    all checks, all tests, a short fuzzing
  --embedded   all checks, tests of the embedded side: no servers; a short fuzzing
  --servers    start the servers, print what tests read, wait for Ctrl-C
TXT
}

mode=all
while [ $# -gt 0 ]; do
    case "$1" in
        --embedded) mode=embedded ;;
        --servers) mode=servers ;;
        --help | -h) usage; exit 0 ;;
        --) shift; break ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done

say() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }
fail() { printf 'test.sh: %s\n' "$1" >&2; exit 1; }

tmp=$(mktemp -d)
chmod 755 "$tmp"
pids=()
rabbit_epmd=""

stop() {
    local status=$?
    trap - EXIT INT TERM
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    [ -f "$tmp/postgres/data/postmaster.pid" ] && kill -INT "$(head -1 "$tmp/postgres/data/postmaster.pid")" 2>/dev/null || true
    [ -f "$tmp/rabbit/pid" ] && kill "$(cat "$tmp/rabbit/pid")" 2>/dev/null || true
    local waited=0
    while [ $waited -lt 100 ]; do
        local alive=0
        for pid in "${pids[@]}"; do kill -0 "$pid" 2>/dev/null && alive=1; done
        [ $alive = 0 ] && break
        sleep 0.1
        waited=$((waited + 1))
    done
    for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    [ -n "$rabbit_epmd" ] && epmd -port "$rabbit_epmd" -kill >/dev/null 2>&1 || true
    rm -rf "$tmp"
    exit "$status"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

free_port() {
    python3 - <<'PY' 2>/dev/null || perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen=>1,LocalAddr=>"127.0.0.1:0")->sockport'
import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])
PY
}

until_ready() { # name, log, command…
    local name=$1 log=$2 waited=0
    shift 2
    until "$@" >/dev/null 2>&1; do
        waited=$((waited + 1))
        if [ $waited -gt 600 ]; then
            tail -20 "$log" >&2 || true
            fail "$name did not become ready within 60 s"
        fi
        sleep 0.1
    done
}

postgres_bin() {
    local newest
    if command -v initdb >/dev/null; then
        dirname "$(readlink -f "$(command -v initdb)")"
        return
    fi
    newest=$(find /usr/lib/postgresql -maxdepth 3 -name initdb -path '*/bin/*' 2>/dev/null | sort -V | tail -1)
    [ -n "$newest" ] && dirname "$newest"
}

# Not the one that Debian puts on the PATH: that one changes its user and knows one place for its data.
rabbitmq_server() {
    if [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]; then echo /usr/lib/rabbitmq/bin/rabbitmq-server; else command -v rabbitmq-server; fi
}

install_missing() {
    local missing=()
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    command -v c++ >/dev/null || missing+=(g++)
    command -v openssl >/dev/null || missing+=(openssl)
    command -v curl >/dev/null || missing+=(curl)
    command -v exiftool >/dev/null || missing+=(libimage-exiftool-perl)
    # Installs a stock client of the tus protocol; one for node is tried where npm is.
    python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
    if [ "$mode" != embedded ]; then
        [ -n "$(postgres_bin)" ] || missing+=(postgresql)
        command -v redis-server >/dev/null || missing+=(redis-server)
        rabbitmq_server >/dev/null || missing+=(rabbitmq-server)
    fi
    [ ${#missing[@]} -eq 0 ] && return
    local root=()
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || fail "these Debian packages are missing and this user may not install them: ${missing[*]}"
        root=(sudo -n)
    fi
    command -v apt-get >/dev/null || fail "these are missing and there is no apt-get to install them: ${missing[*]}"
    say "installing ${missing[*]}"
    "${root[@]}" apt-get update -qq
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$tmp/apt.log" 2>&1 ||
        { tail -20 "$tmp/apt.log" >&2; fail "the packages could not be installed"; }
}

certificates() {
    local d=$tmp/tls
    mkdir -p "$d"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test-ca \
        -keyout "$d/ca.key" -out "$d/ca.pem" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost \
        -keyout "$d/key.pem" -out "$d/csr.pem" 2>/dev/null
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >"$d/ext"
    openssl x509 -req -in "$d/csr.pem" -CA "$d/ca.pem" -CAkey "$d/ca.key" -CAcreateserial -days 2 -extfile "$d/ext" \
        -out "$d/cert.pem" 2>/dev/null
    chmod 644 "$d"/*
    export MEDIAMILL_TEST_CA=$d/ca.pem
}

start_postgres() {
    local bin dir=$tmp/postgres port
    bin=$(postgres_bin)
    port=$(free_port)
    mkdir -p "$dir"
    cp "$tmp/tls/cert.pem" "$tmp/tls/key.pem" "$dir/"
    chmod 600 "$dir/key.pem"
    local as=()
    if [ "$(id -u)" = 0 ]; then
        chown -R postgres:postgres "$dir"
        as=(setpriv --reuid=postgres --regid=postgres --clear-groups --)
    fi
    (cd / && "${as[@]}" "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --no-locale >"$dir/../initdb.log" 2>&1)
    # What lies here is thrown away: no commit, and no database that is dropped, waits for a disk that others keep busy.
    (cd / && exec "${as[@]}" "$bin/postgres" -D "$dir/data" -p "$port" -c listen_addresses=127.0.0.1 -c max_connections=400 \
        -c fsync=off -c full_page_writes=off \
        -c "unix_socket_directories=$dir" -c ssl=on -c "ssl_cert_file=$dir/cert.pem" -c "ssl_key_file=$dir/key.pem" \
        >"$tmp/postgres.log" 2>&1) &
    pids+=($!)
    until_ready PostgreSQL "$tmp/postgres.log" "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"
    export MEDIAMILL_TEST_POSTGRES_URL=postgres://postgres@127.0.0.1:$port/postgres
    export MEDIAMILL_TEST_POSTGRES_TLS_URL="postgres://postgres@localhost:$port/postgres?sslmode=verify-full&sslrootcert=$MEDIAMILL_TEST_CA"
}

start_redis() {
    local port tls
    port=$(free_port)
    tls=$(free_port)
    redis-server --port "$port" --tls-port "$tls" --tls-cert-file "$tmp/tls/cert.pem" --tls-key-file "$tmp/tls/key.pem" \
        --tls-auth-clients no --tls-ca-cert-file "$tmp/tls/ca.pem" --bind 127.0.0.1 --dir "$tmp" --save '' --appendonly no \
        --daemonize no >"$tmp/redis.log" 2>&1 &
    pids+=($!)
    until_ready Redis "$tmp/redis.log" redis-cli -p "$port" ping
    export MEDIAMILL_TEST_REDIS_URL=redis://127.0.0.1:$port/
    export MEDIAMILL_TEST_REDISS_URL=rediss://localhost:$tls/
}

start_rabbitmq() {
    local r=$tmp/rabbit port tls management distribution
    port=$(free_port) tls=$(free_port) management=$(free_port) distribution=$(free_port) rabbit_epmd=$(free_port)
    mkdir -p "$r/mnesia" "$r/log" "$r/home"
    echo '[rabbitmq_management].' >"$r/enabled_plugins"
    cat >"$r/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$port
listeners.ssl.1 = 127.0.0.1:$tls
ssl_options.cacertfile = $tmp/tls/ca.pem
ssl_options.certfile = $tmp/tls/cert.pem
ssl_options.keyfile = $tmp/tls/key.pem
ssl_options.verify = verify_none
management.tcp.ip = 127.0.0.1
management.tcp.port = $management
vm_memory_high_watermark.absolute = 2GiB
disk_free_limit.absolute = 64MB
CONF
    HOME=$r/home ERL_EPMD_PORT=$rabbit_epmd ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_NODENAME=mm$port@localhost \
        RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$port RABBITMQ_DIST_PORT=$distribution \
        RABBITMQ_MNESIA_BASE=$r/mnesia RABBITMQ_LOG_BASE=$r/log RABBITMQ_ENABLED_PLUGINS_FILE=$r/enabled_plugins \
        RABBITMQ_CONFIG_FILE=$r/rabbitmq RABBITMQ_CONF_ENV_FILE=$r/none RABBITMQ_PID_FILE=$r/pid \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \
        "$(rabbitmq_server)" >"$tmp/rabbit.log" 2>&1 &
    pids+=($!)
    until_ready RabbitMQ "$tmp/rabbit.log" curl -sf -o /dev/null -u guest:guest "http://127.0.0.1:$management/api/overview"
    export MEDIAMILL_TEST_AMQP_URL=amqp://guest:guest@127.0.0.1:$port/%2f
    export MEDIAMILL_TEST_AMQPS_URL=amqps://guest:guest@localhost:$tls/%2f
    export MEDIAMILL_TEST_RABBITMQ_API=http://guest:guest@127.0.0.1:$management
}

start_servers() {
    say "starting PostgreSQL, Redis and RabbitMQ"
    certificates
    start_postgres
    start_redis
    start_rabbitmq
}

checks() {
    say "formatting"
    cargo fmt --all --check
    cargo fmt --manifest-path workers/media/fuzz/Cargo.toml --check
    say "lints"
    cargo clippy --workspace --all-targets --locked -- -D warnings
    say "documentation"
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
    say "dependencies"
    if command -v cargo-deny >/dev/null; then
        cargo deny --log-level error check bans licenses sources
        if cargo deny fetch db >"$tmp/deny.log" 2>&1; then
            cargo deny --log-level error check advisories
        else
            echo "advisories are not checked: their database cannot be reached"
        fi
    else
        echo "licences, bans and advisories are not checked: cargo-deny is not installed (cargo install cargo-deny --locked)"
    fi
}

# The same inputs every time, so that a check says the same again; `./fuzz.sh --seconds N` looks for new ones.
fuzzing() {
    say "fuzzing"
    ./fuzz.sh --runs 10000
}

# Tests wait for servers: more of them at a time than there are processors are done sooner.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) * 2))}

# Tests of a full disk mount a small file system: root may, and so may anybody in a user namespace of their own.
mounter=()
skipped=()
find_mounter() {
    [ "$(id -u)" = 0 ] && return
    mkdir "$tmp/mount"
    if unshare --user --map-root-user --mount mount -t tmpfs tmpfs "$tmp/mount" 2>/dev/null; then
        mounter=(unshare --user --map-root-user --mount)
    else
        echo "tests of a full disk are skipped: this user may not mount a file system, nor make a user namespace"
        skipped=(--skip full_disk --skip full_bucket --skip read_only_disk)
    fi
}

install_missing
case $mode in
    servers)
        start_servers
        env | grep '^MEDIAMILL_TEST_' | sort | sed "s/=\(.*\)/='\1'/; s/^/export /"
        say "ready; Ctrl-C stops them"
        while :; do sleep 3600 & wait $!; done
        ;;
    embedded)
        checks
        say "tests, embedded side"
        cargo test --workspace --locked "$@"
        fuzzing
        ;;
    all)
        start_servers
        checks
        say "tests, both sides"
        find_mounter
        cargo test --workspace --locked --no-run "$@"
        "${mounter[@]}" cargo test --workspace --locked "$@" -- --include-ignored "${skipped[@]}"
        fuzzing
        ;;
esac
say "all tests passed"
