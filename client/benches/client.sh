#!/usr/bin/env bash
# What the client takes, beside Debian's mender 3.4 in the same run and on the same 256 MiB image: size, idle memory, CPU seconds
# and peak memory of an installation from a file. Both write to a file and sync it; mender by an update module that is one `cat`.
# Each figure is the best of three. Called by scripts/bench as root, with the folder of the programs.
set -euo pipefail

bin=$1
rota=$bin/rota
work=$(mktemp -d)
pids=()
cleanup() {
    if [ ${#pids[@]} -gt 0 ]; then kill "${pids[@]}" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap cleanup EXIT
cd "$work"

# An ext4 with files of this machine.
make_image() {
    mkdir stage
    local left=$((206 << 20)) file size
    while read -r size file; do
        if [ "$size" -le $left ]; then
            cp --parents "$file" stage && left=$((left - size))
        fi
    done < <(find /usr/bin /usr/lib /usr/share -xdev -type f -size -32M -printf '%s %p\n' | sort -k2)
    truncate -s 256M image
    mkfs.ext4 -q -N 65536 -d stage image
    rm -r stage
}

# The machine that both believe to run on: slot A is root, the boot loader is a file.
make_machine() {
    truncate -s 256M slot2
    fallocate -l 256M slot3
    mkdir -p etc data run lib boot system/sys/dev/block/7:0/loop system/proc/self system/proc/sys/kernel/random
    echo boot-1 >system/proc/sys/kernel/random/boot_id
    echo "$work/slot2" >system/sys/dev/block/7:0/loop/backing_file
    echo '1 0 7:0 / / ro - ext4 /dev/root ro' >system/proc/self/mountinfo
    echo 'ro rota.slot=A' >system/proc/cmdline
    printf '#!/bin/sh\necho mac=02:00:00:00:00:01\n' >lib/identity
    chmod +x lib/identity
    configure true https://127.0.0.1:9
    mkdir modules mender-conf
    echo '{}' >mender-conf/mender.conf
    echo 'artifact_name=rel-1' >mender-conf/artifact_info
    cat >modules/bench <<EOF
#!/bin/sh
case \$1 in
Download)
    cat stream-next >stream-name
    read -r stream <stream-name
    cat "\$stream" >"$work/slot3"
    sync "$work/slot3"
    cat stream-next
    ;;
SupportsRollback) echo No ;;
NeedsArtifactReboot) echo No ;;
esac
EOF
    chmod +x modules/bench
    mkdir -p mender-data
    echo device_type=bench >mender-data/device_type
}

# configure READ_BACK URL
configure() {
    cat >etc/rota.toml <<EOF
device_type = "bench"
[server]
url = "$2"
ca = "$work/server/tls/ca.pem"
[slots]
a = "$work/slot2"
b = "$work/slot3"
[boot]
backend = "fake"
env_dir = "$work/boot"
[write]
read_back = $1
EOF
}

run_rota() {
    ROTA_CONF_DIR=$work/etc ROTA_DATA_DIR=$work/data ROTA_RUN_DIR=$work/run ROTA_LIB_DIR=$work/lib \
        ROTA_SYSTEM_ROOT=$work/system "$rota" "$@"
}

install_rota() {
    rm -rf data/* boot/*
    run_rota install "$1"
}

# The module and the configuration are seen by this process only.
install_mender() {
    rm -rf mender-data/mender-store*
    unshare -m sh -c "mount --bind '$work/modules' /usr/share/mender/modules/v3 &&
        mount --bind '$work/mender-conf' /etc/mender &&
        exec mender --no-syslog -c '$work/mender-conf/mender.conf' -d '$work/mender-data' install '$1'"
}

# The same work by programs of the system: what it takes on this machine.
install_limit() {
    "${@:2}" <"$1" | tee >(sha256sum >sum) | dd of=slot3 bs=1M iflag=fullblock conv=notrunc,fdatasync status=none
}

export -f run_rota install_rota install_mender install_limit
export work rota

# cost COMMAND…: CPU seconds and peak memory in MiB, the best of three.
cost() {
    local _
    for _ in 1 2 3; do
        : >slot3
        fallocate -l 256M slot3
        command time -f '%U %S %M' -o cost bash -c '"$@"' bash "$@" >out 2>&1 || { cat out >&2; return 1; }
        cmp -n $((256 << 20)) image slot3 >&2
        awk 'END {print $1 + $2, $3 / 1024}' cost
    done | sort -n | awk 'NR == 1 {cpu = $1} {if ($2 > peak) peak = $2} END {print cpu, peak}'
}

row() {
    printf '%-26s %8s %8s %8s   %8s %8s\n' "$@"
}

# compare NAME MENDER_ARTIFACT ROTA_ARTIFACT LIMIT…: one row; `-` where there is none.
compare() {
    local name=$1 theirs=(- -) ours limit
    [ "$2" = - ] || read -ra theirs < <(cost install_mender "$work/$2")
    read -ra ours < <(cost install_rota "$work/$3")
    read -ra limit < <(cost install_limit "${@:4}")
    row "$name" "${theirs[0]}" "${ours[0]}" "${limit[0]}" "${theirs[1]:0:6}" "${ours[1]:0:6}"
    awk -v theirs="${theirs[0]}" -v ours="${ours[0]}" -v limit="${limit[0]}" -v peak="${theirs[1]}" -v mine="${ours[1]}" 'BEGIN {
        if (theirs != "-") printf "  mender takes %.2f times the CPU and %.1f times the memory;", theirs / ours, peak / mine
        printf "  rota runs at %.2f of the limit\n", limit / ours }'
}

# idle NAME PID…: resident and anonymous memory after a while.
idle() {
    awk -v name="$1" '/^Rss:/ {rss = $2} /^Pss:/ {pss = $2} /^Anonymous:/ {anon = $2}
        END {printf "idle %-8s RSS %.1f MB, anonymous %.1f MB, PSS %.1f MB\n", name, rss / 1024, anon / 1024, pss / 1024}' \
        "/proc/$2/smaps_rollup"
}

make_image
make_machine
for compression in none gzip zstd_better; do
    "$bin/rota-artifact" write rootfs-image -f image -n rel-2 -t bench --compression $compression -o rota-$compression.mender
done
for compression in none gzip; do
    "$bin/rota-artifact" write module-image -T bench -f image -n rel-2 -t bench --compression $compression -o mender-$compression.mender
done
gzip -k image
zstd -q -7 -k image

printf 'stripped size: rota %s bytes, mender %s bytes\n' "$(stat -c %s "$rota")" "$(stat -Lc %s /usr/bin/mender)"

server=${ROTA_SERVER:-$bin/rota-server}
url=https://127.0.0.1:9
if [ -x "$server" ]; then
    "$server" init --data server --email bench@example.org --password bench-bench-bench >/dev/null
    "$server" serve --data server --listen 127.0.0.1:0 >server.out 2>/dev/null &
    pids+=($!)
    for _ in $(seq 300); do
        if grep -q listening server.out; then break; fi
        sleep 0.1
    done
    url=$(grep -o 'https://.*' server.out)
fi
configure true "$url"
ROTA_CONF_DIR=$work/etc ROTA_DATA_DIR=$work/data ROTA_RUN_DIR=$work/run ROTA_LIB_DIR=$work/lib \
    ROTA_SYSTEM_ROOT=$work/system "$rota" daemon 2>daemon.out &
pids+=($!)
printf '{"ServerURL": "%s", "ServerCertificate": "%s"}' "$url" "$work/server/tls/ca.pem" >mender-conf/mender.conf
mender --no-syslog -c mender-conf/mender.conf -d "$work/mender-data" daemon >/dev/null 2>&1 &
pids+=($!)
sleep 20
idle rota "${pids[-2]}"
idle mender "${pids[-1]}"
kill "${pids[@]}"
pids=()

row 'install 256 MiB' 'CPU s:' '' '' 'peak MiB:' ''
row '' mender rota limit mender rota
configure false https://127.0.0.1:9
echo '{}' >mender-conf/mender.conf
compare uncompressed mender-none.mender rota-none.mender image cat
compare gzip mender-gzip.mender rota-gzip.mender image.gz zstd -dc
compare zstd - rota-zstd_better.mender image.zst zstd -dc
configure true https://127.0.0.1:9
read -ra back < <(cost install_rota "$work/rota-zstd_better.mender")
printf 'zstd, and read back as is the default: %s s\n' "${back[0]}"
