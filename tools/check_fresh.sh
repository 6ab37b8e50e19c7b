#!/bin/bash
# tools/check_fresh.sh [TARGET...]: clones HEAD into a new minimal Debian 12 with git and make, an empty HOME and
# nothing else, and runs `make TARGET` there: by default demo, demo again, check. Root only.
#
# The new root gets this machine's way to the package registries (apt's Debian sources, pip's, npm's and
# cargo's configuration, certificates, proxies), none of its packages and nothing that was fetched or built here.
# The log stays in build-fresh.log; the last lines are a table of times.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "$(id -u)" -eq 0 ] || { echo "tools/check_fresh.sh needs root: it makes a root file system and changes into it" >&2; exit 1; }
targets=("$@")
[ $# -gt 0 ] || targets=(demo demo check)
log=$PWD/build-fresh.log
root=$(mktemp -d "${TMPDIR:-/tmp}/cabinet-fresh-XXXXXX")
chmod 755 "$root" # apt reads as another user

clean_up() {
    for mount in dev/pts dev/shm dev sys proc; do
        ! mountpoint -q "$root/$mount" || umount --lazy "$root/$mount"
    done
    rm -rf --one-file-system "$root"
}
trap clean_up EXIT

copy_in() { # PATH [PATH_IN_ROOT]: if it exists
    [ -e "$1" ] || return 0
    mkdir -p "$root$(dirname "${2:-$1}")"
    cp -aLT "$1" "$root${2:-$1}"
}

echo "making a Debian 12 root (a few minutes)"
debootstrap --variant=minbase --include=ca-certificates,git,make bookworm "$root" >"$log" 2>&1 ||
    { tail -5 "$log" >&2; exit 1; }
rm -f "$root/etc/apt/sources.list"
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
    ! grep -qsE '/debian(-security)?/?( |$)' "$file" || copy_in "$file"
done
for path in /etc/apt/apt.conf.d /etc/apt/auth.conf.d /etc/apt/trusted.gpg.d /usr/share/keyrings /etc/pip.conf \
    /etc/npmrc /usr/etc/npmrc \
    /etc/resolv.conf /etc/hosts /usr/local/share/ca-certificates; do
    copy_in "$path"
done
copy_in "${CARGO_HOME:-$HOME/.cargo}/config.toml" /.cargo/config.toml
copy_in "$HOME/.config/pip/pip.conf" /etc/pip.conf
copy_in /etc/ssl/certs/ca-certificates.crt
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --bind /dev "$root/dev"
mount --bind /dev/pts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
chroot "$root" update-ca-certificates >>"$log" 2>&1

git clone -q --no-hardlinks "file://$PWD" "$root/cabinet"
mkdir "$root/home/new"
copy_in "${NPM_CONFIG_USERCONFIG:-$HOME/.npmrc}" /home/new/.npmrc
environment=(HOME=/home/new PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM="${TERM:-dumb}")
while IFS= read -r -d '' entry; do
    case ${entry%%=*} in
    http_proxy | https_proxy | no_proxy | HTTP_PROXY | HTTPS_PROXY | NO_PROXY | ALL_PROXY | PIP_INDEX_URL | \
        PIP_EXTRA_INDEX_URL | PIP_TRUSTED_HOST | PIP_DEFAULT_TIMEOUT | PIP_CERT | SSL_CERT_FILE | SSL_CERT_DIR | \
        [Nn][Pp][Mm]_[Cc][Oo][Nn][Ff][Ii][Gg]_[Rr][Ee][Gg][Ii][Ss][Tt][Rr][Yy] | NODE_EXTRA_CA_CERTS | CARGO_HTTP_* | CARGO_NET_* | CARGO_REGISTR* | CARGO_SOURCE_*) environment+=("$entry") ;;
    esac
done < <(env -0)

commit=$(git rev-parse --short HEAD)
rows=() result=0
for target in "${targets[@]}"; do
    echo "make $target, in the new root" | tee -a "$log"
    started=$(date +%s.%N)
    # Without a terminal, as CI has it; the output is also in the log.
    code=0
    chroot "$root" env -i "${environment[@]}" sh -c "cd /cabinet && exec make $target" </dev/null 2>&1 | tee -a "$log" ||
        code=${PIPESTATUS[0]}
    seconds=$(awk -v a="$started" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }')
    [ "$code" -eq 0 ] || result=1
    passed=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -1 || true)
    [ "$target" = check ] || passed=
    rows+=("| $(date -u +%F) | $commit | make $target | $seconds s | exit $code${passed:+, $passed} |")
done
{
    echo
    echo "| date | commit | command | time | result |"
    echo "|---|---|---|---|---|"
    printf '%s\n' "${rows[@]}"
} | tee -a "$log"
exit $result
